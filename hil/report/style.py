"""How the page looks, on screen and on A4."""

from __future__ import annotations

from hil.report import look

STYLE = """
:root { color: #222; background: #fff; font: 15px/1.5 FONTS; font-variant-numeric: tabular-nums; }
body { max-width: 58rem; margin: 0 auto; padding: 1.2rem 1.4rem 3rem; }
header { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: baseline; border-bottom: 2px solid #222; padding-bottom: .5rem; }
header b { font-size: 1.15rem; }
header span, nav, h2, figcaption, caption, .small { color: #555; }
header .tag { border: 1.5px solid #222; border-radius: .3rem; padding: 0 .5rem; font-weight: 600; color: #222; }
header .air { background: #222; color: #fff; }
nav { margin: .6rem 0 0; }
nav a { margin-right: 1rem; color: inherit; display: inline-block; }
section { margin-top: 2.4rem; }
h1 { font-size: 1.5rem; line-height: 1.3; margin: 0 0 .8rem; text-wrap: balance; }
h2 { font-size: 1rem; margin: 0 0 .6rem; font-weight: 600; }
p { margin: .5rem 0; max-width: 50rem; }
figure { margin: 0; }
figure + figure { margin-top: 1.6rem; }
figure svg { width: 100%; height: auto; display: block; }
figcaption, caption, .small { font-size: .87rem; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; font-size: .9rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .22rem .7rem .22rem 0; text-align: right; border-bottom: 1px solid #e4e4e4; vertical-align: top; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1.5px solid #222; vertical-align: bottom; white-space: normal; }
th:last-child, td:last-child { padding-right: 0; }
.t, th.t { text-align: left; }
.w { white-space: normal; }
.final td, .broken td:last-child { font-weight: 700; }
.swatch { display: inline-block; width: .55em; height: .55em; border: 2px solid; border-radius: 50%; margin-right: .45em; }
code, .hash { font-family: ui-monospace, 'DejaVu Sans Mono', Consolas, monospace; overflow-wrap: anywhere; }
code { font-size: .84rem; }
.hash { font-size: .72rem; }
pre { background: #f4f4f4; padding: .6rem .8rem; white-space: pre-wrap; }
.warn ul { margin: .2rem 0; padding-left: 1.2rem; }
.warn { border-left: 4px solid #222; padding: .3rem .8rem; background: #f0f0f0; max-width: none; }
@media screen and (max-width: 48rem) { table { display: block; overflow-x: auto; } }
@page { size: A4 portrait; margin: 14mm; }
@media print {
 :root { font-size: 11px; }
 body { max-width: none; padding: 0; }
 nav { display: none; }
 section { break-before: page; margin: 0; }
 section:first-of-type { break-before: auto; margin-top: 1rem; }
 tr, figure { break-inside: avoid; }
 .warn, pre, .swatch, .tag { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
""".replace("FONTS", look.FONTS)
