// The sky in Hammer's projection (equal areas; Snyder 1987, p. 232), turned so that the middle of
// the view is never distorted.  Each point of the canvas is projected back to the sky and looked up.

import { degrees, pixelOf, vector } from './healpix.js'
import { tile, tileNow } from './tiles.js'
import { drawLegend, indexOf, number, palette, scaleOf } from './colours.js'
import { eachFrame, fit, listen } from './gestures.js'
import { $, announce, colourChoices, columnLabel, explain, options } from './page.js'

// Galactic to ICRS (Hipparcos catalogue, vol. 1, eq. 1.5.11), by columns
const GALACTIC = [
  [-0.0548755604, -0.8734370902, -0.4838350155],
  [0.4941094279, -0.4448296300, 0.7469822445],
  [-0.8676661490, -0.1980763734, 0.4559837762],
]
const PIXELS = 4 // a bin is drawn with at least so many
const STARS_BELOW = 3 // degrees across: single stars are read and drawn
const MOST_STARS = 3000
const AREA = 129600 / Math.PI / 12 // of a base pixel, square degrees
const MAX_ZOOM = 20000
const REST_MS = 160

export class Sky {
  constructor(site, catalog, list) {
    Object.assign(this, { site, catalog, list, column: 'count', frame: 'galactic' })
    this.levels = site.maps.sky.levels
    this.canvas = $('#sky canvas.map')
    this.reset(false)
    this.redraw = eachFrame(() => this.draw())
    options($('#sky-colour'), colourChoices(site), this.column)
    $('#sky-colour').onchange = (event) => { this.column = event.target.value; this.recolour() }
    $('#sky-frame').onchange = (event) => this.turn(event.target.value)
    $('#sky-in').onclick = () => this.zoom(2)
    $('#sky-out').onclick = () => this.zoom(0.5)
    $('#sky-reset').onclick = () => this.reset()
    $('#sky-list').onclick = () => this.listView()
    listen(this.canvas, this)
    fit(this.canvas, () => this.redraw())
    this.recolour()
  }

  // Columns of a list in addition to places.
  get extra() { return this.column === 'count' ? [] : [this.column] }
  get folder() { return `${this.site.data}/sky` }
  get size() { return this.canvas.getBoundingClientRect() }
  // The whole sky is an ellipse, four by two roots of two wide and high.
  get pixelsPerRadian() {
    const { width, height } = this.size
    return (Math.min(width, 2 * height) / (4 * Math.SQRT2)) * 0.98 * this.zoomed
  }
  get widthDegrees() { return (this.size.width / this.pixelsPerRadian * 180) / Math.PI }

  reset(draw = true) {
    Object.assign(this, { longitude: 0, latitude: 0, zoomed: 1, stars: null })
    if (draw) this.changed()
  }

  turn(frame) {
    const [longitude, latitude] = this.toSky(...this.middle)
    this.frame = frame
    if (this.zoomed === 1) this.reset()
    else this.lookAt(longitude, latitude)
  }

  get middle() { return [this.size.width / 2, this.size.height / 2] }

  // Show a place, ICRS degrees; `width` is the width of the view in degrees.
  lookAt(longitude, latitude, width) {
    const v = vector(longitude, latitude)
    const own = this.frame === 'galactic' ? GALACTIC.map((axis) => dot(axis, v)) : v
    ;[this.longitude, this.latitude] = degrees(own)
    if (width) this.zoomed = Math.min(MAX_ZOOM, (4 * Math.SQRT2 * 180) / Math.PI / width)
    this.mark = v
    this.changed()
  }

  pan(dx, dy) {
    const degree = this.pixelsPerRadian * Math.PI / 180
    const stretch = Math.max(0.2, Math.cos((this.latitude * Math.PI) / 180))
    this.longitude = (this.longitude + dx / degree / stretch + 360) % 360
    this.latitude = Math.max(-90, Math.min(90, this.latitude + dy / degree))
    this.changed()
  }

  zoom(factor, x, y) {
    const before = x === undefined ? null : this.toSky(x, y)
    this.zoomed = Math.max(1, Math.min(MAX_ZOOM, this.zoomed * factor))
    if (before && this.zoomed > 1) {
      const now = this.fromSky(vector(...before))
      if (now) return this.pan(x - now[0], y - now[1])
    }
    this.changed()
  }

  // While it moves, the map is drawn in coarser points.
  changed() {
    this.moving = true
    clearTimeout(this.rest)
    this.rest = setTimeout(() => { this.moving = false; this.redraw() }, REST_MS)
    this.redraw()
    clearTimeout(this.later)
    this.later = setTimeout(() => this.loadStars(), 300)
  }

  // Axes of the view in ICRS: ahead, left, up.
  axes() {
    const [l, b] = [this.longitude, this.latitude]
    const own = [vector(l, b), vector(l + 90, 0), vector(l, b + 90)]
    return this.frame === 'galactic' ? own.map(fromGalactic) : own
  }

  // The direction at a point of the canvas, ICRS degrees, or null beside the sky.
  toSky(x, y) {
    const v = unproject((this.size.width / 2 - x) / this.pixelsPerRadian,
      (this.size.height / 2 - y) / this.pixelsPerRadian)
    return v && degrees(combine(this.axes(), v))
  }

  fromSky(v) {
    const [a, l, u] = this.axes().map((axis) => dot(axis, v))
    const c = Math.hypot(a, l)
    const half = Math.atan2(l, a) / 2
    const d = Math.sqrt(1 + c * Math.cos(half))
    const [x, y] = [(2 * Math.SQRT2 * c * Math.sin(half)) / d, (Math.SQRT2 * u) / d]
    return [this.size.width / 2 - x * this.pixelsPerRadian, this.size.height / 2 - y * this.pixelsPerRadian]
  }

  async recolour() {
    try {
      await this.coarse()
    } catch (error) {
      return this.say(explain(error))
    }
    this.redraw()
  }

  // Bins of the whole sky of every order up to the first level's, and their colours' range.
  async coarse() {
    const { column, levels: [level] } = this
    const place = `${this.folder}/${level.order}/0`
    const [counts, values] = await Promise.all([tile(place, 'count'), tile(place, column)])
    const orders = []
    orders[level.order] = { counts, values }
    for (let order = level.order - 1; order >= 3; order--) orders[order] = merge(orders[order + 1], column)
    if (column !== this.column) return
    this.orders = orders
    this.ranges = []
    this.shown = column
  }

  // Order of the bins that are drawn.
  order() {
    const deepest = this.levels.at(-1).order
    const degree = this.pixelsPerRadian * Math.PI / 180
    const fine = Math.floor(Math.log2((58.6 * degree) / PIXELS)) // a base pixel is 58.6 degrees wide
    return Math.max(3, Math.min(deepest, fine))
  }

  draw() {
    if (!this.orders || !this.size.width) return
    const order = this.order()
    const { canvas } = this
    const context = canvas.getContext('2d')
    const colours = palette()
    const scale = this.scale(order)
    const ratio = canvas.width / this.size.width
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.clearRect(0, 0, this.size.width, this.size.height)
    context.imageSmoothingEnabled = false
    const picture = this.paint(order, this.lookup(order), scale, colours)
    context.drawImage(picture, 0, 0, this.size.width, this.size.height)
    this.drawGrid(context)
    this.drawStars(context)
    const density = this.shown === 'count'
    const label = density ? 'sources per square degree' : `mean ${columnLabel(this.site, this.shown)}`
    drawLegend($('#sky .legend'), scale, label, colours)
    canvas.dataset.order = order
  }

  // Value of a bin: a density, or a mean; NaN if no source is in it.
  lookup(order) {
    const [level] = this.levels
    const area = AREA / 4 ** order
    const whole = this.orders[Math.min(order, level.order)]
    const density = this.shown === 'count'
    if (order <= level.order) {
      return (pixel) => (whole.counts[pixel] ? (density ? whole.counts[pixel] / area : whole.values[pixel]) : NaN)
    }
    const deep = this.levels.find((each) => each.order >= order)
    const shift = 2 * (deep.order - order)
    const files = new Set(deep.files)
    const loaded = new Map()
    return (pixel) => {
      const first = pixel * 4 ** (shift / 2)
      const number = Math.floor(first / deep.bins)
      if (!files.has(number)) return NaN
      if (!loaded.has(number)) {
        const place = `${this.folder}/${deep.order}/${number}`
        loaded.set(number, {
          counts: tileNow(place, 'count', this.redraw),
          values: tileNow(place, this.shown, this.redraw),
        })
      }
      const { counts, values } = loaded.get(number)
      if (!counts || !values) {
        const parent = pixel >> (2 * (order - level.order))
        if (!whole.counts[parent]) return NaN
        return density ? whole.counts[parent] / (AREA / 4 ** level.order) : whole.values[parent]
      }
      return summed(counts, values, first - number * deep.bins, 4 ** (shift / 2), density ? area : 0)
    }
  }

  scale(order) {
    const at = Math.min(order, this.levels[0].order)
    const { counts, values } = this.orders[at]
    const density = this.shown === 'count'
    this.ranges[at] ??= density
      ? scaleOf(counts.map((n) => n / (AREA / 4 ** at)), true)
      : scaleOf(values.filter((_, i) => counts[i]), false)
    return this.ranges[at]
  }

  paint(order, value, scale, colours) {
    const detail = this.moving ? 0.5 : Math.min(1.5, devicePixelRatio)
    const [width, height] = [this.size.width, this.size.height].map((v) => Math.round(v * detail))
    const picture = new OffscreenCanvas(width, height)
    const image = new ImageData(width, height)
    const out = new Uint32Array(image.data.buffer)
    const step = this.size.width / width / this.pixelsPerRadian
    const axes = this.axes()
    const empty = isEmptyColour(this.canvas)
    const [[ax, ay, az], [lx, ly, lz], [ux, uy, uz]] = axes
    for (let j = 0, at = 0; j < height; j++) {
      const y = (height / 2 - j - 0.5) * step
      for (let i = 0; i < width; i++, at++) {
        // `unproject` and `combine`, without making arrays
        const x = (width / 2 - i - 0.5) * step
        const q = 1 - (x * x) / 16 - (y * y) / 4
        if (q < 0.5) continue
        const z = Math.sqrt(q)
        const [t, s] = [z * x, 2 * (2 * q - 1)]
        const r = t * t + s * s // of the half longitude's sine and cosine
        const up = z * y
        const c = Math.sqrt(1 - up * up)
        const ahead = (c * (s * s - t * t)) / r
        const left = (c * 2 * s * t) / r
        const found = value(pixelOf(order, ahead * ax + left * lx + up * ux,
          ahead * ay + left * ly + up * uy, ahead * az + left * lz + up * uz))
        out[at] = found === found ? colours[indexOf(scale, found)] : empty
      }
    }
    picture.getContext('2d').putImageData(image, 0, 0)
    return picture
  }

  // Lines of longitude and latitude in the chosen frame.
  drawGrid(context) {
    context.strokeStyle = getComputedStyle(this.canvas).getPropertyValue('--grid')
    context.lineWidth = 0.75
    const step = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005].find((s) =>
      this.widthDegrees / s > 4) ?? 0.005
    if (step < 5) return this.drawCross(context)
    for (let l = 0; l < 360; l += step) this.line(context, (t) => [l, -90 + 180 * t])
    for (let b = -90 + step; b < 90; b += step) this.line(context, (t) => [360 * t, b])
    this.drawCross(context)
  }

  line(context, place) {
    context.beginPath()
    let last = null
    for (let i = 0; i <= 120; i++) {
      const own = vector(...place(i / 120))
      const at = this.fromSky(this.frame === 'galactic' ? fromGalactic(own) : own)
      const far = !last || Math.hypot(at[0] - last[0], at[1] - last[1]) > this.size.width / 4
      context[far ? 'moveTo' : 'lineTo'](...at)
      last = at
    }
    context.stroke()
  }

  drawCross(context) {
    if (!this.mark) return
    const [x, y] = this.fromSky(this.mark)
    context.strokeStyle = getComputedStyle(this.canvas).getPropertyValue('--accent')
    context.lineWidth = 2
    context.beginPath()
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 6 * dx, y + 6 * dy)
      context.lineTo(x + 14 * dx, y + 14 * dy)
    }
    context.stroke()
  }

  drawStars(context) {
    if (!this.stars || this.widthDegrees > STARS_BELOW) return
    context.fillStyle = getComputedStyle(this.canvas).color
    context.strokeStyle = getComputedStyle(this.canvas).getPropertyValue('--page')
    context.lineWidth = 1
    for (const row of this.stars) {
      const [x, y] = this.fromSky(vector(row.ra, row.dec))
      context.beginPath()
      context.arc(x, y, 3, 0, 7)
      context.fill()
      context.stroke()
    }
  }

  async loadStars() {
    if (!this.catalog.reachable || !(this.widthDegrees <= STARS_BELOW)) { // or is hidden
      this.stars = null
      return
    }
    const place = this.toSky(...this.middle)
    const key = `${place} ${this.zoomed}`
    this.asked = key
    try {
      const { rows, all } = await this.catalog.cone(...place, this.widthDegrees * 0.6, [], MOST_STARS)
      if (this.asked !== key) return
      this.stars = rows
      this.say(`${rows.length.toLocaleString('en')} sources in view${all ? '' : ' or more'}`)
      this.redraw()
    } catch (error) {
      this.say(explain(error))
    }
  }

  say(text) {
    $('#sky .status').textContent = text
    announce(text)
  }

  hover(x, y) {
    if (x === null || !this.orders) return
    const place = this.toSky(x, y)
    if (!place) return
    const order = this.order()
    const found = this.lookup(order)(pixelOf(order, ...vector(...place)))
    const what = this.shown === 'count' ? 'sources per square degree' : columnLabel(this.site, this.shown)
    const text = Number.isNaN(found) ? 'no sources' : `${number(found)} ${what}`
    this.say(`RA ${place[0].toFixed(3)}°, Dec ${place[1].toFixed(3)}°: ${text}`.replace('-', '−'))
  }

  press(x, y) {
    const place = this.toSky(x, y)
    if (!place) return
    const radius = Math.min(2, (12 / this.pixelsPerRadian) * 180 / Math.PI)
    this.list.cone(...place, radius, this.extra)
  }

  listView() {
    const place = this.toSky(...this.middle)
    this.list.cone(...place, Math.min(10, this.widthDegrees / 2), this.extra)
  }
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
const combine = (axes, v) => [0, 1, 2].map((i) =>
  axes[0][i] * v[0] + axes[1][i] * v[1] + axes[2][i] * v[2])
const fromGalactic = (v) => combine(GALACTIC, v)

// Hammer's projection backwards: the direction at (x, y), or null beside the sky.
function unproject(x, y) {
  const q = 1 - (x * x) / 16 - (y * y) / 4
  if (q < 0.5) return null
  const z = Math.sqrt(q)
  const half = Math.atan2(z * x, 2 * (2 * q - 1))
  const up = z * y
  const c = Math.sqrt(1 - up * up)
  return [c * Math.cos(2 * half), c * Math.sin(2 * half), up]
}

const isEmptyColour = (canvas) => {
  const [r, g, b] = getComputedStyle(canvas).getPropertyValue('--empty').trim().split(/\s+/).map(Number)
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0
}

// Bins of the next coarser order.
function merge({ counts, values }, column) {
  const n = counts.length / 4
  const merged = { counts: new Float32Array(n), values: new Float32Array(n) }
  for (let i = 0; i < n; i++) {
    merged.counts[i] = summed(counts, counts, 4 * i, 4, 1) || 0
    merged.values[i] = column === 'count' ? merged.counts[i] : summed(counts, values, 4 * i, 4, 0)
  }
  return merged
}

// Of some bins: sources by area, or, without an area, the mean of their means.
function summed(counts, values, first, n, area) {
  let [all, weight, sum] = [0, 0, 0]
  for (let i = first; i < first + n; i++) {
    all += counts[i]
    if (counts[i] && values[i] === values[i]) [weight, sum] = [weight + counts[i], sum + counts[i] * values[i]]
  }
  if (!all) return NaN
  return area ? all / area : weight ? sum / weight : NaN
}

