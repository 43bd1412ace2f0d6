// The page: its views, its search box, its addresses (#/sky, #/latents, #/star/SOURCE_ID, #/about).

import { Catalog } from './catalog.js'
import { isDark, number } from './colours.js'
import { Latents } from './latents.js'
import { List } from './list.js'
import { parse, resolve } from './search.js'
import { Sky } from './sky.js'
import { Star } from './star.js'
import { $, announce, element, explain } from './page.js'

const VIEWS = ['sky', 'latents', 'star', 'about']
const PLACE_DEGREES = 1 // of the view around a position that was searched for
const PLACE_RADIUS = 1 / 60

async function start() {
  const site = await read()
  $('#title').textContent = site.title
  document.title = site.title
  $('#facts').textContent = `${site.n_rows.toLocaleString('en')} sources · ${site.name}, version ${site.snapshot}`
  const views = site.axes.length > 1 ? VIEWS : VIEWS.filter((view) => view !== 'latents')
  if (!views.includes('latents')) $('nav a[href="#/latents"]').remove()
  const catalog = new Catalog(site)
  const list = new List(site, catalog)
  const made = {}
  const get = {
    sky: () => (made.sky ??= new Sky(site, catalog, list)),
    latents: () => (made.latents ??= new Latents(site, list)),
    star: () => (made.star ??= new Star(site, catalog, {
      sky: (ra, dec) => { location.hash = '#/sky'; show(); get.sky().lookAt(ra, dec, PLACE_DEGREES) },
      latents: (values) => { location.hash = '#/latents'; show(); get.latents().mark = values; get.latents().redraw() },
    })),
  }

  function show() {
    const [, name = 'sky', rest = ''] = location.hash.split('/')
    const view = views.includes(name) ? name : 'sky'
    for (const each of VIEWS) $(`#${each}`).hidden = each !== view
    for (const link of document.querySelectorAll('nav a')) {
      const own = link.hash === `#/${view}`
      own ? link.setAttribute('aria-current', 'page') : link.removeAttribute('aria-current')
    }
    $('#lists').hidden = view === 'about' || view === 'star'
    document.title = site.title
    if (view === 'star') get.star().show(decodeURIComponent(rest))
    else get[view]?.()
  }

  addEventListener('hashchange', () => { show(); $('main').focus(); scrollTo(0, 0) })
  search((found) => {
    if (found.id !== undefined) location.hash = `#/star/${found.id}`
    else {
      location.hash = '#/sky'
      show()
      get.sky().lookAt(...found.place, PLACE_DEGREES)
      list.cone(...found.place, PLACE_RADIUS)
    }
  })
  about(site, catalog)
  show()
}

async function read() {
  const answer = await fetch('site.json')
  if (!answer.ok) throw new Error(`site.json: ${answer.status} ${answer.statusText}`)
  return answer.json()
}

function search(go) {
  const say = (...content) => { $('#found').replaceChildren(...content); announce($('#found').textContent) }
  $('#search').onsubmit = (event) => {
    event.preventDefault()
    const found = parse($('#query').value)
    say()
    if (found.problem) return say(found.problem)
    if (!found.name) return go(found)
    const ask = element('button', { type: 'button', onclick: () => byName(found.name, say, go) }, 'Ask it')
    say(`“${found.name}” is no identifier or position. CDS’s name resolver may know it; that sends the name over the internet. `, ask)
  }
}

async function byName(name, say, go) {
  say('Asking …')
  try {
    const place = await resolve(name)
    if (!place) return say(`CDS knows no object “${name}”.`)
    say(`${name}: ${place.map((v) => v.toFixed(5)).join(', ').replace('-', '−')}`)
    go({ place })
  } catch (error) {
    say(explain(error))
  }
}

function about(site, catalog) {
  const facts = [
    ['catalogue', site.catalog ? new URL(site.catalog, location).href : 'not reachable from this page'], ['sources', number(site.n_rows)],
    ['release', site.release], ['published', site.created.replace('T', ' ').slice(0, 16)], ['version', site.snapshot],
    ['model', site.model_id], ['products', site.products.join(', ')], ['software', site.software],
  ]
  $('#about dl').replaceChildren(...facts.flatMap(([name, value]) =>
    [element('dt', {}, name), element('dd', {}, String(value))]))
  $('#about tbody').replaceChildren(...site.columns.map(({ name, unit, description }) =>
    element('tr', {}, ...[name, unit, description].map((text) => element('td', {}, text)))))
  $('#credit').textContent = site.credit
  if (!catalog.reachable) $('#about .unreachable').hidden = false
}

$('#theme').onclick = () => {
  document.documentElement.dataset.theme = isDark() ? 'light' : 'dark'
  dispatchEvent(new Event('theme'))
}
start().catch((error) => {
  $('#facts').textContent = location.protocol === 'file:'
    ? 'Browsers let a page read its data only from a web server: xpscale site CATALOG OUT --serve'
    : explain(error)
})
