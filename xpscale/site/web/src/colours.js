// Colours of values: viridis (van der Walt & Smith 2015), which readers with any colour vision can
// order.  The darkest fifth is left out on a dark page.

const STOPS = [
  [68, 1, 84], [72, 36, 117], [65, 68, 135], [53, 95, 141], [42, 120, 142], [33, 145, 140],
  [34, 168, 132], [68, 191, 112], [122, 209, 81], [189, 223, 38], [253, 231, 37],
]

export const isDark = () => {
  const chosen = document.documentElement.dataset.theme
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
}

// 256 colours as numbers 0xAABBGGRR, the byte order of ImageData.
export function palette() {
  const first = isDark() ? 0.22 : 0
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const at = (first + (1 - first) * (i / 255)) * (STOPS.length - 1)
    const k = Math.min(STOPS.length - 2, Math.floor(at))
    const [r, g, b] = STOPS[k].map((v, c) => Math.round(v + (STOPS[k + 1][c] - v) * (at - k)))
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0
  })
}

export const css = (colour) =>
  `rgb(${colour & 255} ${(colour >> 8) & 255} ${(colour >> 16) & 255})`

// The range of colours for some values: all of a count, else without the outer 2 % at each end;
// logarithmic where positive values span more than a factor of 100.
export function scaleOf(values, isCount) {
  const finite = values.filter((v) => Number.isFinite(v) && (!isCount || v > 0)).sort()
  if (!finite.length) return { low: 0, high: 1, log: false, isCount }
  const at = (q) => finite[Math.round(q * (finite.length - 1))]
  let [low, high] = isCount ? [finite[0], at(1)] : [at(0.02), at(0.98)]
  if (low === high) [low, high] = isCount ? [low, 2 * low] : [low - 0.5, high + 0.5]
  return { low, high, log: low > 0 && (isCount || high / low > 100), isCount }
}

export function indexOf(scale, value) {
  const { low, high, log } = scale
  const t = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low)
  return t <= 0 ? 0 : t >= 1 ? 255 : Math.round(255 * t)
}

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–'
  if (typeof value === 'bigint') return value.toString()
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString('en', { useGrouping: 'min2' }).replace('-', '−')
  const size = Math.abs(value)
  if (size >= 1e6 || size < 1e-3) return value.toExponential(digits - 1).replace('-', '−')
  return String(Number(value.toPrecision(digits))).replace('-', '−')
}

export function drawLegend(legend, scale, label, colours) {
  const canvas = legend.querySelector('canvas')
  const context = canvas.getContext('2d')
  canvas.width = 256
  canvas.height = 1
  const image = context.createImageData(256, 1)
  new Uint32Array(image.data.buffer).set(colours)
  context.putImageData(image, 0, 0)
  const atEnds = scale.isCount ? ['', ''] : ['≤ ', '≥ ']
  legend.querySelector('.low').textContent = atEnds[0] + number(scale.low, 3)
  legend.querySelector('.high').textContent = atEnds[1] + number(scale.high, 3)
  legend.querySelector('.label').textContent = label + (scale.log ? ' (log)' : '')
}
