// The files of binned values: see xpscale/site/tiles.py.

const MOST = 400 // arrays that are kept
const cache = new Map()

export async function unpack(url) {
  const answer = await fetch(url)
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`)
  let bytes = new Uint8Array(await answer.arrayBuffer())
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    // else the server or the browser has unpacked it
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
    bytes = new Uint8Array(await new Response(stream).arrayBuffer())
  }
  return bytes
}

// Words of four bytes, their bytes in planes.
export async function unpackWords(url) {
  const planes = await unpack(url)
  const n = planes.length / 4
  const bytes = new Uint8Array(planes.length)
  for (let plane = 0; plane < 4; plane++) {
    for (let i = 0, at = plane * n; i < n; i++) bytes[4 * i + plane] = planes[at + i]
  }
  return bytes.buffer
}

async function load(folder, column) {
  if (column === 'count') return new Float32Array(await unpackWords(`${folder}/count.bin`))
  const [counts, packed] = await Promise.all([
    tile(folder, 'count'),
    unpackWords(`${folder}/${column}.bin`),
  ])
  const some = new Float32Array(packed)
  const all = new Float32Array(counts.length).fill(NaN)
  for (let i = 0, k = 0; i < all.length; i++) if (counts[i]) all[i] = some[k++]
  return all
}

// The values of a column in the bins of one file; NaN (or a count of 0) where no source is.
export function tile(folder, column) {
  const key = `${folder}/${column}`
  let found = cache.get(key)
  if (!found) {
    found = load(folder, column)
    found.then((values) => { found.values = values }, () => cache.delete(key))
    if (cache.size >= MOST) cache.delete(cache.keys().next().value)
  } else {
    cache.delete(key)
  }
  cache.set(key, found)
  return found
}

// The same, if it is here already; else it is asked for, and `arrived` is called later.
export function tileNow(folder, column, arrived) {
  const found = tile(folder, column)
  if (!found.values && !found.awaited) {
    found.awaited = true
    found.then(arrived, arrived)
  }
  return found.values
}
