// Objects on a web server, read in ranges, or whole if the server sends whole files and they are
// small.

export const WHOLE_BYTES = 8e6
const GAP_BYTES = 1 << 15
export const traffic = { bytes: 0, requests: 0 }

export class CannotRead extends Error {}

// A file as hyparquet reads it.  Ranges that are asked for at one time and lie near each other
// become one request.
export function remoteFile(url, byteLength) {
  let whole
  let waiting = []

  async function fetchRange(start, end) {
    if (whole) return (await whole).slice(start, end)
    const stop = new AbortController()
    const answer = await ask(url, start, end, stop.signal)
    if (answer.status === 206) return counted(answer)
    if (byteLength > WHOLE_BYTES) {
      stop.abort()
      throw new CannotRead(
        `This web server sends whole files only, and the part has ${(byteLength / 1e6).toFixed()} `
        + 'MB. Buckets, nginx, Apache and “xpscale site … --serve” answer range requests; '
        + '“python -m http.server” does not.')
    }
    whole ??= counted(answer)
    return (await whole).slice(start, end)
  }

  function send() {
    const asked = waiting.sort((a, b) => a.start - b.start)
    waiting = []
    while (asked.length) {
      const [first] = asked
      let end = first.end
      let n = 1
      while (n < asked.length && asked[n].start <= end + GAP_BYTES) end = Math.max(end, asked[n++].end)
      const bytes = fetchRange(first.start, end)
      for (const { start, end: stop, resolve } of asked.splice(0, n)) {
        resolve(bytes.then((b) => b.slice(start - first.start, stop - first.start)))
      }
    }
  }

  return {
    byteLength,
    slice(start, end = byteLength) {
      if (start < 0) start = Math.max(0, byteLength + start)
      if (!waiting.length) setTimeout(send)
      return new Promise((resolve) => { waiting.push({ start, end, resolve }) })
    },
  }
}

async function ask(url, start, end, signal) {
  let answer
  try {
    answer = await fetch(url, { headers: { Range: `bytes=${start}-${end - 1}` }, signal })
  } catch {
    throw new CannotRead(`The catalogue’s files cannot be reached at ${new URL(url, location).href}.`)
  }
  if (!answer.ok) {
    const error = new CannotRead(`${new URL(url, location).href}: ${answer.status} ${answer.statusText}. `
      + 'Is the catalogue where the page looks for it? (xpscale site … --data-url)')
    throw Object.assign(error, { status: answer.status })
  }
  return answer
}

async function counted(answer) {
  const buffer = await answer.arrayBuffer()
  traffic.bytes += buffer.byteLength
  traffic.requests += 1
  return buffer
}
