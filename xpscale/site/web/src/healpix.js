// HEALPix, NESTED, for orders up to 13 (Gorski et al. 2005, ApJ 622, 759; the names are those of
// its reference code).  Directions are unit vectors [x, y, z] in ICRS.

const RING = [2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4]
const LONGITUDE = [1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7]
const RADIUS = 1 // of a base pixel in radians: no pixel of order k reaches beyond RADIUS / 2**k

// Put a zero before each of the lower bits.
export function spread(bits) {
  bits = (bits | (bits << 8)) & 0x00ff00ff
  bits = (bits | (bits << 4)) & 0x0f0f0f0f
  bits = (bits | (bits << 2)) & 0x33333333
  return (bits | (bits << 1)) & 0x55555555
}

// Take every second bit.
export function squeeze(bits) {
  bits &= 0x55555555
  bits = (bits | (bits >> 1)) & 0x33333333
  bits = (bits | (bits >> 2)) & 0x0f0f0f0f
  bits = (bits | (bits >> 4)) & 0x00ff00ff
  return (bits | (bits >> 8)) & 0x0000ffff
}

export function pixelOf(order, x, y, z) {
  const side = 1 << order
  const height = Math.abs(z)
  let quarter = Math.atan2(y, x) / (Math.PI / 2)
  if (quarter < 0) quarter += 4
  let face, column, row
  if (height <= 2 / 3) {
    const a = side * (0.5 + quarter)
    const b = side * z * 0.75
    const up = Math.floor(a - b)
    const down = Math.floor(a + b)
    const i = up >> order
    const j = down >> order
    face = i === j ? (i & 3) + 4 : i < j ? i & 3 : (j & 3) + 8
    column = down & (side - 1)
    row = side - 1 - (up & (side - 1))
  } else {
    const face4 = Math.min(3, Math.floor(quarter))
    const t = quarter - face4
    // 1 - |z| loses digits at the poles, where x and y are exact
    const w = side * Math.sqrt((3 * (x * x + y * y)) / (1 + height))
    const up = Math.min(side - 1, Math.floor(t * w))
    const down = Math.min(side - 1, Math.floor((1 - t) * w))
    if (z >= 0) [face, column, row] = [face4, side - 1 - down, side - 1 - up]
    else [face, column, row] = [face4 + 8, up, down]
  }
  return face * side * side + (spread(column) | (spread(row) << 1))
}

export function centreOf(order, pixel) {
  const side = 1 << order
  const face = Math.floor(pixel / (side * side))
  const inside = pixel - face * side * side
  const column = squeeze(inside)
  const row = squeeze(inside >> 1)
  const ring = RING[face] * side - column - row - 1
  let n = side
  let z = ((2 * side - ring) * 2) / (3 * side)
  let cap = 0 // 1 - |z|, exact near the poles
  if (ring < side) [n, cap] = [ring, ring ** 2 / (3 * side ** 2)]
  else if (ring > 3 * side) [n, cap] = [4 * side - ring, (4 * side - ring) ** 2 / (3 * side ** 2)]
  if (cap) z = ring < side ? 1 - cap : cap - 1
  const longitude = ((LONGITUDE[face] * n + column - row) * Math.PI) / (4 * n)
  const r = cap ? Math.sqrt(cap * (2 - cap)) : Math.sqrt(1 - z * z)
  return [r * Math.cos(longitude), r * Math.sin(longitude), z]
}

export function vector(longitude, latitude) {
  const [l, b] = [(longitude * Math.PI) / 180, (latitude * Math.PI) / 180]
  return [Math.cos(b) * Math.cos(l), Math.cos(b) * Math.sin(l), Math.sin(b)]
}

export function degrees([x, y, z]) {
  const longitude = (Math.atan2(y, x) * 180) / Math.PI
  return [(longitude + 360) % 360, (Math.atan2(z, Math.hypot(x, y)) * 180) / Math.PI]
}

// Angle between two directions in degrees; exact for small ones.
export function separation(a, b) {
  const half = Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) / 2
  return (2 * Math.asin(Math.min(1, half)) * 180) / Math.PI
}

// Pixels of an order that may hold points of a cone: all that do, and some around it.
export function coneCover(order, centre, radius) {
  let found = [0, 1, 2] // as if these were the parents of the twelve base pixels
  for (let k = 0; k <= order; k++) {
    const reach = radius + ((RADIUS / 2 ** k) * 180) / Math.PI
    found = found.flatMap((pixel) => [0, 1, 2, 3].map((i) => 4 * pixel + i))
      .filter((pixel) => separation(centreOf(k, pixel), centre) <= reach)
  }
  return found
}
