"""Style and behaviour of the page that shows packs: plain CSS and JavaScript, no network."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --page: #f7f7f5; --card: #fff; --ink: #1d2025; --faint: #666b73; --line: #dcdcd7;
  --answer: 214 150 0; --user: #edf1f7; --prefix: #f1f1ee; --reply: #fff; --bad: #c62828; --chip: #e6e6e1; }
@media (prefers-color-scheme: dark) { :root { --page: #15171a; --card: #1d2024; --ink: #e7e8ea; --faint: #9aa0a8;
  --line: #343941; --answer: 236 178 46; --user: #242b35; --prefix: #23262a; --reply: #1d2024; --bad: #ff7b72;
  --chip: #33373d; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 3.6rem; }
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif;
  margin: 0; }
main, header > div, nav > div { margin: 0 auto; max-width: 84rem; padding: 0 1.25rem; }
header { padding: 1.6rem 0 .4rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .8rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0; }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 1.8rem; margin: 0 0 1rem; }
.facts div { min-width: 0; }
.facts dt { color: var(--faint); font-size: .75rem; }
.facts dd { font-variant-numeric: tabular-nums; margin: 0; overflow-wrap: anywhere; }
nav { background: var(--page); border-block: 1px solid var(--line); position: sticky; top: 0; z-index: 5; }
nav div { align-items: center; display: flex; flex-wrap: wrap; font-size: .85rem; gap: .25rem 1.2rem;
  padding-block: .55rem; }
nav label { cursor: pointer; display: inline-flex; gap: .35rem; }
nav .scale { align-items: center; display: inline-flex; gap: .4rem; margin-left: auto; }
nav .scale i { background: linear-gradient(90deg, rgb(var(--answer) / .1), rgb(var(--answer) / .75));
  border-radius: 3px;
  height: .8rem; width: 5rem; }
.overview { display: grid; gap: .35rem; margin: 1.1rem 0 .4rem; }
.overview a { align-items: center; color: inherit; display: grid; gap: 0 .8rem;
  grid-template-columns: 11rem 1fr 7.5rem;
  text-decoration: none; }
.overview span { font-size: .82rem; font-variant-numeric: tabular-nums; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.overview a > span:last-child { color: var(--faint); text-align: right; }
.bars { display: grid; gap: 2px; }
.bar { background: repeating-linear-gradient(135deg, transparent 0 4px, var(--line) 4px 5px);
  border: 1px solid var(--line);
  border-radius: 3px; display: flex; height: .95rem; overflow: hidden; }
.bar.thin { height: .4rem; }
.bar i { background: var(--row); border-right: 1px solid var(--page); display: block; min-width: 1px; }
.pack { margin: 2rem 0 3rem; }
.pack > .head { align-items: baseline; display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin-bottom: .7rem; }
.faint { color: var(--faint); }
.pack > .body { display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr) 15rem; align-items: start; }
.attention { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 0; padding: .8rem;
  position: sticky; top: 3.6rem; }
.attention .square { aspect-ratio: 1; border: 1px solid var(--line); position: relative; }
.attention img, .attention svg { display: block; height: 100%; inset: 0; position: absolute; width: 100%; }
.attention img { image-rendering: pixelated; }
.attention rect { fill: transparent; stroke: var(--row, currentColor); stroke-width: 1;
  vector-effect: non-scaling-stroke; }
.attention figcaption { color: var(--faint); font-size: .78rem; line-height: 1.4; margin-top: .5rem; }
.row { background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--row); border-radius: 10px;
  margin-bottom: .9rem; padding: .8rem 1rem 1rem; }
.row > .name { align-items: baseline; display: flex; flex-wrap: wrap; gap: 0 .7rem; }
.row > .name b { overflow-wrap: anywhere; }
.row > .name code { color: var(--faint); font-size: .82rem; overflow-wrap: anywhere; }
.numbers { color: var(--faint); display: flex; flex-wrap: wrap; font-size: .82rem; font-variant-numeric: tabular-nums;
  gap: 0 1rem; margin-bottom: .6rem; }
.style { background: var(--chip); border-radius: 1rem; font-size: .78rem; padding: .05rem .6rem; }
.bad { border-left: 3px solid var(--bad); color: var(--bad); margin: .5rem 0; overflow-wrap: anywhere;
  padding-left: .6rem; }
.note { color: var(--faint); font-size: .85rem; margin: .2rem 0; }
.content { display: grid; gap: .9rem 1.1rem; grid-template-columns: minmax(0, 1fr); }
.content.seen { grid-template-columns: minmax(0, 25rem) minmax(0, 1fr); }
.content.film { grid-template-columns: minmax(0, 1fr); }
.pictures { display: grid; gap: .8rem; align-content: start; }
.pictures.several { grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
.film .pictures { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; }
.film .pictures.few { grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
.picture { margin: 0; min-width: 0; }
.picture .frame { background: var(--prefix); cursor: zoom-in; position: relative; width: 100%; }
.picture img { border-radius: 4px; display: block; height: 100%; width: 100%; }
.picture figcaption { color: var(--faint); font-size: .78rem; font-variant-numeric: tabular-nums; margin-top: .2rem; }
.picture.found .frame { outline: 3px solid var(--row); outline-offset: 2px; }
.picture.large { grid-column: 1 / -1; }
.picture.large .frame { cursor: zoom-out; max-width: none !important; }
.crop { border: 1px dashed #fff; box-shadow: 0 0 0 1px #0008; display: none; position: absolute; pointer-events: none; }
.grid .crop { display: block; }
.point { height: 0; position: absolute; width: 0; z-index: 2; }
.point::before { background: hsl(var(--hue) 85% 52%); border: 1.5px solid #fff; border-radius: 50%;
  box-shadow: 0 0 0 1px #000a;
  content: ""; height: 10px; left: -5px; position: absolute; top: -5px; width: 10px; }
.point::after { color: #fff; content: attr(data-id); font: 600 10px/1 system-ui, sans-serif; left: 8px;
  position: absolute;
  text-shadow: 0 0 2px #000, 0 0 2px #000, 0 0 3px #000; top: -14px; }
.point.stored { display: none; z-index: 1; }
.stored-on .point.stored { display: block; }
.point.stored::before { background: none; border: 2px solid #fff; box-shadow: 0 0 0 1px #000a, inset 0 0 0 1px #000a;
  height: 20px; left: -10px; top: -10px; width: 20px; }
.point.stored.hidden::before { border-style: dashed; }
.point.stored::after, .noids .point::after { content: none; }
.point.off::before { border-color: #ff1744; box-shadow: 0 0 0 2px #ff1744; }
.quiet .point { opacity: .12; }
.quiet .point.lit { opacity: 1; }
.legend { display: flex; flex-wrap: wrap; font-size: .82rem; gap: .2rem .9rem; grid-column: 1 / -1; list-style: none;
  margin: 0;
  padding: 0; }
.legend li { align-items: center; display: inline-flex; gap: .35rem; }
.legend .dot { background: hsl(var(--hue) 85% 52%); border-radius: 50%; height: .7rem; width: .7rem; }
.legend .ring { border: 2px solid var(--faint); border-radius: 50%; height: .8rem; width: .8rem; }
.legend .wrong { color: var(--bad); }
.text { display: grid; gap: .5rem; align-content: start; min-width: 0; }
.branch { border-left: 2px solid var(--line); display: grid; gap: .4rem; padding-left: .7rem; }
.branch > small, .role { color: var(--faint); font-size: .72rem; letter-spacing: .02em; }
.block { background: var(--prefix); border-radius: 8px; padding: .35rem .65rem .45rem; }
.block.user { background: var(--user); }
.block.assistant { background: var(--reply); border: 1px solid var(--line); }
.block p { font: 13.5px/1.65 ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", Menlo, monospace; margin: 0;
  max-height: 30rem; overflow: auto; overflow-wrap: anywhere; white-space: pre-wrap; }
.t { font-style: normal; }
.t:hover { outline: 1px solid var(--faint); border-radius: 2px; }
.t[data-w] { background: rgb(var(--answer) / calc(.1 + .62 * var(--w))); }
.flat .t[data-w] { background: none; }
.chip, .run { background: var(--chip); border-radius: 4px; color: var(--faint); font-size: .85em; font-style: normal;
  padding: .05em .3em; white-space: nowrap; }
.chip[data-w] { background: rgb(var(--answer) / calc(.1 + .62 * var(--w))); color: inherit; }
.run { border: 1px solid var(--row); color: inherit; cursor: default; }
.nl { color: var(--faint); opacity: .6; }
#tip { background: var(--ink); border-radius: 5px; color: var(--page); font-size: .8rem; left: 0; max-width: 22rem;
  padding: .25rem .55rem; pointer-events: none; position: fixed; top: 0; visibility: hidden; white-space: pre-line;
  z-index: 9; }
:focus-visible { outline: 2px solid var(--row, currentColor); outline-offset: 2px; }
@media (max-width: 60rem) {
  .pack > .body { grid-template-columns: minmax(0, 1fr); }
  .attention { max-width: 19rem; order: -1; position: static; }
}
@media (max-width: 46rem) {
  main, header > div, nav > div { padding-inline: .8rem; }
  .content.seen { grid-template-columns: minmax(0, 1fr); }
  .overview a { grid-template-columns: 1fr auto; }
  .overview a .bars { grid-column: 1 / -1; grid-row: 2; }
  nav .scale { margin-left: 0; }
  nav { position: static; }
}
@media print { nav { display: none; } .row { break-inside: avoid; } }
"""

SCRIPT = """
'use strict';
const tip = document.getElementById('tip');
const said = {
  t: e => `token ${e.dataset.i} of the pack · position ${e.dataset.p} · segment ${e.closest('[data-s]').dataset.s}` +
    (e.dataset.w ? `\\nloss weight ${e.dataset.w}` : '\\nno loss'),
  run: e => `tokens ${e.dataset.i} to ${+e.dataset.i + +e.dataset.n - 1} · positions ${e.dataset.p} to ` +
    `${+e.dataset.p + +e.dataset.n - 1} · segment ${e.closest('[data-s]').dataset.s}\\n` +
    'see each other in both directions',
  point: e => e.dataset.say, span: e => e.dataset.say,
};
function say(target, x, y) {
  const kind = target && Object.keys(said).find(name => target.classList.contains(name));
  tip.style.visibility = kind ? 'visible' : 'hidden';
  if (!kind) return;
  tip.textContent = said[kind](target);
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - box.width - 8)) + 'px';
  tip.style.top = (y + 20 + box.height > innerHeight ? y - box.height - 10 : y + 18) + 'px';
}
const found = run => run.closest('.row').querySelectorAll('.picture')[run.dataset.picture];
document.addEventListener('pointerover', event => {
  const target = event.target.closest('.t, .run, .point, .span');
  say(target, event.clientX, event.clientY);
  document.querySelectorAll('.picture.found').forEach(item => item.classList.remove('found'));
  if (target && target.classList.contains('run')) found(target)?.classList.add('found');
  const entry = event.target.closest('.legend li[data-branch]');
  document.querySelectorAll('.quiet').forEach(item => item.classList.remove('quiet'));
  if (entry) {
    const row = entry.closest('.row');
    row.classList.add('quiet');
    row.querySelectorAll('.point').forEach(point => point.classList.toggle('lit',
      point.dataset.branch === entry.dataset.branch && (!entry.dataset.id || point.dataset.id === entry.dataset.id)));
  }
});
document.addEventListener('click', event => {
  const frame = event.target.closest('.frame');
  if (frame) frame.parentElement.classList.toggle('large');
});
const modes = {grid: 'grid', stored: 'stored-on', ids: 'noids', weights: 'flat'};
for (const box of document.querySelectorAll('nav input')) {
  const turn = () => document.body.classList.toggle(modes[box.name],
    box.name === 'ids' || box.name === 'weights' ? !box.checked : box.checked);
  box.addEventListener('change', turn);
  turn();
}
"""
