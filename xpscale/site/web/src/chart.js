// A small line chart as SVG, with a band of errors around its first line.

import { number } from './colours.js'
import { ticks } from './latents.js'
import { element } from './page.js'

const [LEFT, RIGHT, TOP, BOTTOM] = [62, 12, 12, 44]

function svg(tag, attributes, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...children)
  return made
}

// With `root`, y is drawn as sign(y) sqrt(|y|): coefficients fall off by orders of magnitude.
export function chart({ title, x, xLabel, yLabel, lines, band, bandName, root = false }) {
  // drawn about as large as it is shown, so that its text keeps its size
  const [WIDTH, HEIGHT] = innerWidth < 640 ? [400, 240] : [820, 300]
  const bend = root ? (v) => Math.sign(v) * Math.sqrt(Math.abs(v)) : (v) => v
  const [low, high] = [-1, 1].map((side) => lines[0].y.map((v, i) => bend(v + side * band[i])))
  const all = [...low, ...high, ...lines.flatMap(({ y }) => y.map(bend))].filter(Number.isFinite)
  const xRange = [Math.min(...x), Math.max(...x)]
  const pad = 0.05 * (Math.max(...all) - Math.min(...all)) || 1
  const yRange = [Math.min(...all) - pad, Math.max(...all) + pad]
  const px = (v) => LEFT + ((v - xRange[0]) / (xRange[1] - xRange[0] || 1)) * (WIDTH - LEFT - RIGHT)
  const py = (v) => TOP + ((yRange[1] - v) / (yRange[1] - yRange[0])) * (HEIGHT - TOP - BOTTOM)
  // points whose y is missing are left out
  const path = (ys) => `M${ys.map((v, i) => (Number.isFinite(v) ? `${px(x[i]).toFixed(1)},${py(v).toFixed(1)}` : ''))
    .filter(Boolean).join('L')}`
  const drawing = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': title },
    ...axes({ xRange, yRange, px, py, xLabel, yLabel, root, WIDTH, HEIGHT }),
    svg('path', { class: 'band', d: `${path(high)}L${path(low).slice(1).split('L').reverse().join('L')}Z` }),
    ...lines.toReversed().map(({ y, className }) => svg('path', { class: className, d: path(y.map(bend)) })))
  const keys = [...lines.map(({ name, className }) => [name, className]), [bandName, 'band']]
  return element('figure', {}, drawing, element('figcaption', {}, ...keys.map(([name, className]) =>
    element('span', { class: 'key' }, svg('svg', { width: 22, height: 12, 'aria-hidden': 'true' },
      svg(className === 'band' ? 'rect' : 'path', { class: className, d: 'M0,6H22', width: 22, height: 12 })),
    name))))
}

function* axes({ xRange, yRange, px, py, xLabel, yLabel, root, WIDTH, HEIGHT }) {
  for (const value of ticks(xRange, WIDTH / 90)) {
    yield svg('line', { class: 'grid', x1: px(value), x2: px(value), y1: TOP, y2: HEIGHT - BOTTOM })
    yield svg('text', { x: px(value), y: HEIGHT - BOTTOM + 16, 'text-anchor': 'middle' }, number(value))
  }
  for (const value of ticks(yRange, 5)) {
    const text = number(root ? Math.sign(value) * value * value : value)
    yield svg('line', { class: 'grid', x1: LEFT, x2: WIDTH - RIGHT, y1: py(value), y2: py(value) })
    yield svg('text', { x: LEFT - 6, y: py(value) + 4, 'text-anchor': 'end' }, text)
  }
  yield svg('text', { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, 'text-anchor': 'middle' }, xLabel)
  const y = (TOP + HEIGHT - BOTTOM) / 2
  yield svg('text', { x: 13, y, 'text-anchor': 'middle', transform: `rotate(-90 13 ${y})` }, yLabel)
}
