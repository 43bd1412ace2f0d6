// What people type into the search box: an identifier, a position, a name.

const NUMBER = String.raw`[+-]?\d+(?:\.\d+)?`

// { id } or { place: [ra, dec] } or { name } or { problem }.
export function parse(text) {
  const said = text.trim().replaceAll('−', '-')
  const id = said.match(/^(?:gaia\s*(?:dr\d)?\s*)?(\d{6,19})$/i)
  if (id) {
    if (BigInt(id[1]) < 2n ** 63n) return { id: BigInt(id[1]) }
    return { problem: 'No source_id has so many digits.' }
  }
  const decimal = said.match(new RegExp(`^(${NUMBER})\\s*(?:°|deg|d)?\\s*[,\\s]\\s*(${NUMBER})\\s*(?:°|deg|d)?$`))
  if (decimal) return onSky(Number(decimal[1]), Number(decimal[2]))
  return sexagesimal(said) ?? (said ? { name: said } : { problem: 'Type an identifier, a position or a name.' })
}

// 03:47:24 +24:07:00, 3h47m24s +24d07m00s, 3 47 24 +24 07 00: hours, then degrees.
function sexagesimal(said) {
  const parts = said.match(
    /^(\d{1,2})[\s:h]+(\d{1,2})(?:[\s:m]+(\d{1,2}(?:\.\d*)?)?)?\s*s?[\s,]*([+-])?\s*(\d{1,2})[\s:d°]+(\d{1,2})(?:[\s:m'′]+(\d{1,2}(?:\.\d*)?)?)?\s*[s"″]?\s*m?'?$/i)
  if (!parts) return null
  const [, h, m, s = 0, sign, d, dm, ds = 0] = parts
  if ([m, s, dm, ds].some((part) => Number(part) >= 60)) {
    return { problem: 'Minutes and seconds must be below 60.' }
  }
  const size = Number(d) + dm / 60 + ds / 3600
  return onSky(15 * (Number(h) + m / 60 + s / 3600), sign === '-' ? -size : size)
}

function onSky(ra, dec) {
  if (!(ra >= 0 && ra <= 360)) return { problem: 'Right ascension must be 0 to 360 degrees (or 0 to 24 hours).' }
  if (!(Math.abs(dec) <= 90)) return { problem: 'Declination must be −90 to +90 degrees.' }
  return { place: [ra, dec] }
}

// CDS's name resolver, Sesame: the position of an object, or null if it knows none of that name.
export const RESOLVER = 'https://cds.unistra.fr/cgi-bin/nph-sesame/-ox/SNV?'

export async function resolve(name) {
  let text
  try {
    const answer = await fetch(RESOLVER + encodeURIComponent(name), { signal: AbortSignal.timeout(10_000) })
    if (!answer.ok) throw new Error(answer.status)
    text = await answer.text()
  } catch {
    throw new Error('The name resolver of CDS cannot be reached; are you offline? Positions and identifiers work.')
  }
  const ra = text.match(/<jradeg>([^<]+)</)
  const dec = text.match(/<jdedeg>([^<]+)</)
  return ra && dec ? [Number(ra[1]), Number(dec[1])] : null
}
