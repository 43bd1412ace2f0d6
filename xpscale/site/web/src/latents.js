// A map of two latents: bins of a pyramid, to zoom, to colour and to lasso.

import { spread, squeeze } from './healpix.js'
import { tile, tileNow, unpack } from './tiles.js'
import { drawLegend, indexOf, number, palette, scaleOf } from './colours.js'
import { eachFrame, fit, listen } from './gestures.js'
import { $, announce, colourChoices, columnLabel, explain, options } from './page.js'

const MARGIN = { left: 54, right: 12, top: 10, bottom: 40 }
const PIXELS = 2.5 // a bin is drawn with at least so many, where there are finer ones
const MAX_ZOOM = 200
const CELLS = 64 // of the index of parts, across

export class Latents {
  constructor(site, list) {
    Object.assign(this, { site, list, column: 'count', x: 0, y: 1, lassoing: false })
    this.canvas = $('#latents canvas.map')
    this.images = new Map()
    this.redraw = eachFrame(() => this.draw())
    this.controls()
    listen(this.canvas, this)
    fit(this.canvas, () => { this.images.clear(); this.redraw() })
    this.reset()
    this.choose()
  }

  controls() {
    const names = this.site.axes.map(({ name }, i) => [String(i), name])
    for (const axis of ['x', 'y']) {
      const select = $(`#latents-${axis}`)
      options(select, names, String(this[axis]))
      select.onchange = () => this.setAxis(axis, Number(select.value))
    }
    const colour = $('#latents-colour')
    options(colour, colourChoices(this.site), this.column)
    colour.onchange = () => { this.column = colour.value; this.choose() }
    $('#latents-in').onclick = () => this.zoom(2, ...this.middle)
    $('#latents-out').onclick = () => this.zoom(0.5, ...this.middle)
    $('#latents-reset').onclick = () => this.reset()
    $('#latents-lasso').onclick = () => this.setLasso(!this.lassoing)
    $('#latents-list').onclick = () => this.select(this.corners())
  }

  setAxis(axis, value) {
    const other = axis === 'x' ? 'y' : 'x'
    if (value === this[other]) { // they change places
      this[other] = this[axis]
      $(`#latents-${other}`).value = this[other]
    }
    this[axis] = value
    this.polygon = this.mark = null
    this.reset()
    this.choose()
  }

  setLasso(on) {
    this.lassoing = on
    $('#latents-lasso').setAttribute('aria-pressed', on)
    this.canvas.classList.toggle('lassoing', on)
  }

  get size() { return this.canvas.getBoundingClientRect() }
  get plot() {
    const { width, height } = this.size
    return [MARGIN.left, MARGIN.top, width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom]
  }
  get middle() {
    const [left, top, width, height] = this.plot
    return [left + width / 2, top + height / 2]
  }
  get axes() { return [this.site.axes[this.x], this.site.axes[this.y]] }
  // The map of x against y is that of y against x, mirrored.
  get mirrored() { return this.x > this.y }
  get key() { return `map/${Math.min(this.x, this.y)}-${Math.max(this.x, this.y)}` }
  get levels() { return this.site.maps[this.key].levels }

  reset() {
    this.view = this.axes.map(({ low, high }) => [low, high])
    this.redraw()
  }

  toData(x, y) {
    const [left, top, width, height] = this.plot
    const [[x0, x1], [y0, y1]] = this.view
    return [x0 + ((x - left) / width) * (x1 - x0), y1 - ((y - top) / height) * (y1 - y0)]
  }

  fromData(x, y) {
    const [left, top, width, height] = this.plot
    const [[x0, x1], [y0, y1]] = this.view
    return [left + ((x - x0) / (x1 - x0)) * width, top + ((y1 - y) / (y1 - y0)) * height]
  }

  pan(dx, dy) {
    const [, , width, height] = this.plot
    const [[x0, x1], [y0, y1]] = this.view
    this.move(0, (-dx / width) * (x1 - x0))
    this.move(1, (dy / height) * (y1 - y0))
    this.redraw()
  }

  // The view stays within the axis.
  move(i, by) {
    const { low, high } = this.axes[i]
    const [first, last] = this.view[i]
    const step = Math.max(low - first, Math.min(high - last, by))
    this.view[i] = [first + step, last + step]
  }

  zoom(factor, x, y) {
    const at = this.toData(x, y)
    this.view = this.view.map(([first, last], i) => {
      const { low, high } = this.axes[i]
      const width = Math.min(high - low, Math.max((high - low) / MAX_ZOOM, (last - first) / factor))
      const t = (at[i] - first) / (last - first)
      const start = Math.max(low, Math.min(high - width, at[i] - t * width))
      return [start, start + width]
    })
    this.redraw()
  }

  // Colours and axes have changed: read the coarsest level, which gives the range of colours.
  async choose() {
    const { column, key, levels: [level] } = this
    const place = `${this.site.data}/${key}/${level.order}/0`
    try {
      const values = await tile(place, column)
      const counts = await tile(place, 'count')
      if (column !== this.column || key !== this.key) return
      this.range = scaleOf(values.filter((_, i) => counts[i]), column === 'count')
      this.total = counts.reduce((a, b) => a + b, 0)
      this.shown = { column, key }
      this.images.clear()
      this.redraw()
    } catch (error) {
      this.say(explain(error))
    }
  }

  // The level that is drawn: the coarsest with bins of no more than some pixels, or the deepest.
  level() {
    const [, , width] = this.plot
    const { low, high } = this.axes[0]
    const pixels = (width * (high - low)) / (this.view[0][1] - this.view[0][0])
    return this.levels.find(({ order }) => pixels / 2 ** order <= PIXELS) ?? this.levels.at(-1)
  }

  draw() {
    if (!this.shown || this.shown.key !== this.key || !this.size.width) return
    const { canvas } = this
    const context = canvas.getContext('2d')
    const ratio = canvas.width / this.size.width
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.clearRect(0, 0, this.size.width, this.size.height)
    context.save()
    context.beginPath()
    context.rect(...this.plot)
    context.clip()
    context.imageSmoothingEnabled = false
    const level = this.level()
    const colours = palette()
    if (!this.drawLevel(context, level, colours)) {
      context.clearRect(0, 0, this.size.width, this.size.height)
      this.drawLevel(context, this.levels[0], colours)
    }
    this.drawSelection(context)
    context.restore()
    this.drawAxes(context)
    const isCount = this.shown.column === 'count'
    const label = isCount ? 'sources per bin' : `mean ${columnLabel(this.site, this.shown.column)}`
    drawLegend($('#latents .legend'), this.range, label, colours)
    canvas.dataset.order = level.order
    canvas.dataset.view = JSON.stringify(this.view)
  }

  // Whether all files of the level that are in view are here.
  drawLevel(context, level, colours) {
    let complete = true
    const side = Math.sqrt(level.bins)
    const n = 2 ** level.order / side // files across
    for (const number of level.files) {
      let [i, j] = [squeeze(number), squeeze(number >> 1)]
      if (this.mirrored) [i, j] = [j, i]
      const [x0, y0] = this.fromData(this.along(0, i / n), this.along(1, (j + 1) / n))
      const [x1, y1] = this.fromData(this.along(0, (i + 1) / n), this.along(1, j / n))
      if (x1 < 0 || y1 < 0 || x0 > this.size.width || y0 > this.size.height) continue
      const image = this.image(level, number, side, colours)
      if (image) context.drawImage(image, x0, y0, x1 - x0, y1 - y0)
      else complete = false
    }
    return complete
  }

  along(i, t) {
    const { low, high } = this.axes[i]
    return low + t * (high - low)
  }

  // The bins of a file as a picture, its first row on top.
  image(level, number, side, colours) {
    const { column } = this.shown
    const name = `${this.key} ${this.mirrored} ${level.order} ${number} ${column}`
    if (this.images.has(name)) return this.images.get(name)
    const place = `${this.site.data}/${this.key}/${level.order}/${number}`
    const counts = tileNow(place, 'count', this.redraw)
    const values = tileNow(place, column, this.redraw)
    if (!counts || !values) return null
    const image = new OffscreenCanvas(side, side)
    const context = image.getContext('2d')
    const data = context.createImageData(side, side)
    const out = new Uint32Array(data.data.buffer)
    const finer = column === 'count' ? 4 ** (level.order - this.levels[0].order) : 1
    for (let bin = 0; bin < counts.length; bin++) {
      if (!counts[bin] || Number.isNaN(values[bin])) continue
      let [i, j] = [squeeze(bin), squeeze(bin >> 1)]
      if (this.mirrored) [i, j] = [j, i]
      const colour = colours[indexOf(this.range, values[bin] * finer)]
      out[(side - 1 - j) * side + i] = colour
    }
    context.putImageData(data, 0, 0)
    if (this.images.size > 100) this.images.delete(this.images.keys().next().value)
    this.images.set(name, image)
    return image
  }

  drawAxes(context) {
    const [left, top, width, height] = this.plot
    const style = getComputedStyle(this.canvas)
    context.strokeStyle = context.fillStyle = style.color
    context.font = `13px ${style.fontFamily}`
    context.lineWidth = 1
    context.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1)
    context.textAlign = 'center'
    context.textBaseline = 'top'
    for (const value of ticks(this.view[0], width / 90)) {
      const [x] = this.fromData(value, 0)
      context.fillRect(x, top + height - 5, 1, 5)
      context.fillText(number(value), x, top + height + 4)
    }
    context.fillText(this.axes[0].name, left + width / 2, top + height + 21)
    context.textAlign = 'right'
    context.textBaseline = 'middle'
    for (const value of ticks(this.view[1], height / 60)) {
      const [, y] = this.fromData(0, value)
      context.fillRect(left, y, 5, 1)
      context.fillText(number(value), left - 5, y)
    }
    context.save()
    context.translate(11, top + height / 2)
    context.rotate(-Math.PI / 2)
    context.textAlign = 'center'
    context.fillText(this.axes[1].name, 0, 0)
    context.restore()
  }

  drawSelection(context) {
    const style = getComputedStyle(this.canvas)
    context.strokeStyle = style.getPropertyValue('--accent')
    context.lineWidth = 2
    if (this.polygon) {
      context.beginPath()
      for (const point of this.polygon) context.lineTo(...this.fromData(...point))
      context.closePath()
      context.setLineDash([6, 4])
      context.stroke()
      context.setLineDash([])
    }
    if (!this.mark) return
    const [x, y] = this.fromData(this.mark[this.x], this.mark[this.y])
    context.beginPath()
    context.arc(x, y, 8, 0, 7)
    context.stroke()
  }

  drawLasso(points) {
    this.polygon = points.map((point) => this.toData(...point))
    this.redraw()
  }

  lasso(points) {
    this.setLasso(false)
    this.select(points.map((point) => this.toData(...point)))
  }

  corners() {
    const [[x0, x1], [y0, y1]] = this.view
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
  }

  // List the sources in a polygon.
  select(polygon) {
    this.polygon = polygon
    this.redraw()
    const [x, y] = this.axes.map(({ name }) => name)
    const extra = this.column === 'count' ? [] : [this.column]
    this.list.polygon(x, y, polygon, extra, () =>
      Promise.all([this.estimate(polygon), this.partsOf(polygon)]))
  }

  // Whether a part has sources in the cells that a polygon touches (xpscale/site/part_index.py).
  async partsOf(polygon) {
    const spans = [0, 1].map((k) => {
      const { low, high } = this.axes[k]
      const values = polygon.map((point) => ((point[k] - low) / (high - low)) * CELLS)
      const clip = (value) => Math.max(0, Math.min(CELLS - 1, Math.floor(value)))
      return [clip(Math.min(...values)), clip(Math.max(...values))]
    })
    if (this.mirrored) spans.reverse()
    const { cells: n, blocks: there } = this.site.maps[this.key]
    const blocks = new Map()
    for (let i = spans[0][0]; i <= spans[0][1]; i++) {
      for (let j = spans[1][0]; j <= spans[1][1]; j++) {
        const cell = spread(i) | (spread(j) << 1)
        const number = Math.floor(cell / n)
        if (!there.includes(number)) continue
        if (!blocks.has(number)) blocks.set(number, [])
        blocks.get(number).push(cell % n)
      }
    }
    const rows = await Promise.all([...blocks].map(async ([number, cells]) => {
      const bits = await unpack(`${this.site.data}/${this.key}/parts/${number}.bin`)
      return cells.map((cell) => bits.subarray((cell * bits.length) / n, ((cell + 1) * bits.length) / n))
    }))
    const found = rows.flat()
    return (part) => found.some((row) => (row[part >> 3] >> (7 - (part & 7))) & 1)
  }

  // About how many sources are in a polygon, from the coarsest bins.
  async estimate(polygon) {
    const [level] = this.levels
    const counts = await tile(`${this.site.data}/${this.key}/${level.order}/0`, 'count')
    const n = 2 ** level.order
    const inside = polygonTest(polygon)
    let sum = 0
    for (let bin = 0; bin < counts.length; bin++) {
      if (!counts[bin]) continue
      let [i, j] = [squeeze(bin), squeeze(bin >> 1)]
      if (this.mirrored) [i, j] = [j, i]
      if (inside(this.along(0, (i + 0.5) / n), this.along(1, (j + 0.5) / n))) sum += counts[bin]
    }
    return sum
  }

  say(text) {
    $('#latents .status').textContent = text
    announce(text)
  }

  hover(x, y) {
    if (x === null || !this.shown) return
    const [left, top, width, height] = this.plot
    if (x < left || y < top || x > left + width || y > top + height) return
    const at = this.toData(x, y)
    const found = this.binAt(this.level(), at) ?? this.binAt(this.levels[0], at)
    const { column } = this.shown
    const mean = column === 'count' || !found?.count ? '' : `, mean ${column} ${number(found.value)}`
    const n = found?.count ? `${number(found.count)} sources` : 'no sources'
    this.say(`${this.axes.map(({ name }, i) => `${name} ${number(at[i], 3)}`).join(', ')}: ${n}${mean}`)
  }

  binAt(level, at) {
    const side = Math.sqrt(level.bins)
    const n = 2 ** level.order
    let [i, j] = at.map((value, k) => {
      const { low, high } = this.axes[k]
      return Math.max(0, Math.min(n - 1, Math.floor(((value - low) / (high - low)) * n)))
    })
    if (this.mirrored) [i, j] = [j, i]
    const interleave = (a, b) => spread(a) | (spread(b) << 1)
    const file = interleave(Math.floor(i / side), Math.floor(j / side))
    if (!level.files.includes(file)) return { count: 0 }
    const place = `${this.site.data}/${this.key}/${level.order}/${file}`
    const counts = tileNow(place, 'count', this.redraw)
    const values = tileNow(place, this.shown.column, this.redraw)
    const bin = interleave(i % side, j % side)
    return counts && values ? { count: counts[bin], value: values[bin] } : null
  }

  // List what lies around a point.
  press(x, y) {
    const r = 8
    const ring = [[-r, -r], [r, -r], [r, r], [-r, r]]
    this.select(ring.map(([dx, dy]) => this.toData(x + dx, y + dy)))
  }
}

// A test whether a point lies in a polygon (even-odd rule).
export function polygonTest(polygon) {
  return (x, y) => {
    let inside = false
    for (let i = 0, k = polygon.length - 1; i < polygon.length; k = i++) {
      const [[xi, yi], [xk, yk]] = [polygon[i], polygon[k]]
      if (yi > y !== yk > y && x < ((xk - xi) * (y - yi)) / (yk - yi) + xi) inside = !inside
    }
    return inside
  }
}

// Round numbers in a range, about `n` of them.
export function ticks([low, high], n) {
  const rough = (high - low) / Math.max(2, n)
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power
  const found = []
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(12)))
  return found
}
