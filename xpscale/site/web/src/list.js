// The sources that were selected: a table, and a file.

import { CannotRead, traffic } from './ranges.js'
import { number } from './colours.js'
import { polygonTest } from './latents.js'
import { $, announce, element, explain, save } from './page.js'

const MOST_ROWS = 10_000
const MOST_BYTES = 64e6
const SHOWN = 200
const EVERY_MS = 250

export class List {
  constructor(site, catalog) {
    Object.assign(this, { site, catalog, rows: [], columns: [] })
    $('#list-save').onclick = () => this.save()
    $('#list-more').onclick = () => this.goOn()
    $('#list-stop').onclick = () => { this.stopped = true }
    $('#list-clear').onclick = () => { this.stopped = true; $('#list').hidden = true }
  }

  // Where no file can be read, the command that gives the same rows.
  begin(title, columns, command) {
    this.stopped = true
    Object.assign(this, { rows: [], columns, scan: null, number: (this.number ?? 0) + 1 })
    $('#list').hidden = false
    $('#list-title').textContent = title
    $('#list-command').textContent = command
    this.buttons(false, false)
    this.show()
    if (this.catalog.reachable) return true
    this.say('This site has no way to the catalogue’s files, so it cannot list sources; this command does.')
    return false
  }

  async cone(longitude, latitude, radius, extra = []) {
    const place = `${longitude.toFixed(5)}, ${latitude.toFixed(5)}`
    const command = `xpscale query CATALOG --cone ${place.replace(' ', '')},${radius.toPrecision(3)}`
    const title = `Sources within ${degreesText(radius)} of ${place.replace('-', '−')}`
    if (!this.begin(title, ['separation', ...extra], command)) return
    this.say('Reading …')
    const { number: mine } = this
    try {
      const { rows, all } = await this.catalog.cone(longitude, latitude, radius, extra, MOST_ROWS)
      if (mine !== this.number) return
      for (const row of rows) row.separation *= 3600
      this.rows = rows
      this.show()
      this.say(`${count(rows.length)}${all ? '' : `; there are more than ${MOST_ROWS.toLocaleString('en')}`}.`)
    } catch (error) {
      this.say(explain(error))
    }
  }

  // `find` returns about how many sources there are, and which parts may hold some.
  async polygon(x, y, polygon, extra, find) {
    const xs = polygon.map(([a]) => a)
    const ys = polygon.map(([, b]) => b)
    const box = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)]
    const inside = polygonTest(polygon)
    const within = (name, low, high) => `${name} BETWEEN ${low.toPrecision(6)} AND ${high.toPrecision(6)}`
    const command = `xpscale query CATALOG --where "${within(x, box[0], box[1])} AND ${within(y, box[2], box[3])}"`
    if (!this.begin('Sources in the selection', [...new Set([x, y, ...extra])], command)) return
    this.say('Reading …')
    const { number: mine } = this
    try {
      const [about, mayHold] = await find()
      if (mine !== this.number) return
      this.about = about
      this.scan = this.catalog.scan(x, y, box, inside, extra, mayHold, about)
      await this.goOn()
    } catch (error) {
      this.say(explain(error))
    }
  }

  // Read until enough rows were found or bytes read.
  async goOn() {
    const { scan, number: mine } = this
    const firstRows = this.rows.length
    const firstBytes = traffic.bytes
    this.stopped = false
    this.buttons(false, true)
    let last = 0
    try {
      for (;;) {
        const { value, done } = await scan.next()
        if (mine !== this.number) return
        if (done) return this.end('')
        this.rows.push(...value.rows)
        if (Date.now() - last > EVERY_MS) {
          last = Date.now()
          this.say(`${count(this.rows.length)} of about ${number(this.about)}; `
            + `${Math.floor(value.done)} of ${value.of} parts read …`)
        }
        if (value.done === value.of) continue // the end
        const enough = this.rows.length - firstRows >= MOST_ROWS || traffic.bytes - firstBytes >= MOST_BYTES
        if (this.stopped || enough) {
          const share = number((100 * value.done) / value.of, 2)
          return this.end(` of about ${number(this.about)}; ${share} % of the catalogue’s parts with such sources were read`)
        }
      }
    } catch (error) {
      if (!(error instanceof CannotRead)) console.error(error)
      this.buttons(false, false)
      this.say(explain(error))
    }
  }

  end(rest) {
    this.buttons(Boolean(rest), false)
    this.show()
    this.say(`${count(this.rows.length)}${rest}.`)
  }

  buttons(more, stop) {
    $('#list-more').hidden = !more
    $('#list-stop').hidden = !stop
  }

  say(text) {
    $('#list-status').textContent = text
    announce(text)
  }

  show() {
    const columns = ['source_id', 'ra', 'dec', ...this.columns]
    const label = (name) => (name === 'separation' ? 'separation / arcsec' : name)
    $('#list thead').replaceChildren(element('tr', {}, ...columns.map((name) =>
      element('th', { scope: 'col' }, label(name)))))
    $('#list tbody').replaceChildren(...this.rows.slice(0, SHOWN).map((row) =>
      element('tr', {}, ...columns.map((name) => element('td', {}, name === 'source_id'
        ? element('a', { href: `#/star/${row.source_id}` }, String(row.source_id))
        : name === 'ra' || name === 'dec' ? row[name].toFixed(5).replace('-', '−') : number(row[name]))))))
    $('#list-shown').textContent = this.rows.length > SHOWN
      ? `The first ${SHOWN} are shown; the file has all ${this.rows.length.toLocaleString('en')}.` : ''
    $('#list-save').disabled = !this.rows.length
  }

  save() {
    const columns = ['source_id', 'ra', 'dec', ...this.columns]
    const lines = this.rows.map((row) => columns.map((name) => String(row[name])).join(','))
    save('sources.csv', [columns.map((name) => (name === 'separation' ? 'separation_arcsec' : name)).join(','),
      ...lines, ''].join('\n'))
  }
}

const count = (n) => `${n.toLocaleString('en')} source${n === 1 ? '' : 's'}`
export const degreesText = (radius) => (radius >= 1 ? `${number(radius, 3)}°`
  : radius >= 1 / 60 ? `${number(radius * 60, 3)}′` : `${number(radius * 3600, 3)}″`)
