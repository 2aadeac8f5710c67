"""How the page looks: one column, a table of contents beside it where there is room, light and dark, and in print.

Figures are drawn for a light ground and keep it. Whatever is wider than a phone scrolls inside its own box.
"""

STYLE = """
:root{--ground:#fff;--ink:#1d2025;--faint:#5a6472;--rule:#d9dce1;--shade:#f4f5f7;--link:#1f5fa8;--warn:#8a5a00;
--warned:#fff6e0;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ground:#15181d;--ink:#e4e7eb;--faint:#a3adba;--rule:#363c45;--shade:#1e2229;
--link:#86b6f0;--warn:#f0c66b;--warned:#2b2414}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;padding:0 16px 48px;max-width:1360px;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{min-width:0;max-width:1080px}
h1{font-size:1.75rem;line-height:1.2;margin:24px 0 8px}
h2{font-size:1.35rem;margin:48px 0 8px;padding-top:12px;border-top:2px solid var(--rule)}
h3{font-size:1.1rem;margin:28px 0 6px}
h4{font-size:1rem;margin:20px 0 4px}
h1,h2,h3,h4{overflow-wrap:anywhere}
section{scroll-margin-top:8px}
p,li{max-width:78ch;overflow-wrap:anywhere}
a{color:var(--link)}
code,pre{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.88em}
code{overflow-wrap:anywhere}
pre{overflow-x:auto;background:var(--shade);padding:10px 12px;border-radius:6px;margin:10px 0}
pre code{overflow-wrap:normal;font-size:1em}
td code{white-space:nowrap}
.skip{position:absolute;left:-9999px}
.skip:focus{left:8px;top:8px;background:var(--ground);padding:6px}
.caveat{background:var(--warned);border-left:4px solid var(--warn);padding:8px 12px;border-radius:0 6px 6px 0}
nav p{font-weight:600;margin:16px 0 4px}
nav ul{list-style:none;margin:0;padding:0}
nav li{margin:3px 0;line-height:1.35}
nav ul ul{padding-left:14px;font-size:.9em}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
.box{overflow-x:auto;max-width:100%;margin:10px 0;-webkit-overflow-scrolling:touch}
.box:focus-visible,pre:focus-visible{outline:2px solid var(--link)}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;min-width:min(100%,520px)}
caption{text-align:left;color:var(--faint);padding:0 0 6px;font-size:.92em}
caption span{display:inline-block;position:sticky;left:0;max-width:min(78ch,calc(100vw - 34px))}
th,td{padding:4px 10px;text-align:right;vertical-align:top;border-bottom:1px solid var(--rule);white-space:nowrap}
thead th{border-bottom:2px solid var(--rule);color:var(--faint);font-weight:600;vertical-align:bottom;
white-space:normal;min-width:5ch}
tbody th,th.words,td.words{text-align:left}
tbody th{font-weight:600;position:sticky;left:0;background:var(--ground)}
td.wide{white-space:normal;min-width:20ch;max-width:60ch}
figure{margin:16px 0}
figcaption{color:var(--faint);font-size:.9rem;max-width:78ch}
.card{background:#fff;border:1px solid var(--rule);border-radius:8px;padding:8px;width:fit-content}
.card svg{display:block;width:calc(var(--wide)*1.34);min-width:min(var(--wide),640px);max-width:100%;height:auto;
color:#000}
.card:has(svg.chain){background:none}
details{margin:10px 0;border:1px solid var(--rule);border-radius:6px;padding:6px 12px}
summary{cursor:pointer;font-weight:600}
@media (min-width:1180px){body{display:grid;grid-template-columns:230px minmax(0,1fr);gap:0 36px}
nav{position:sticky;top:0;align-self:start;max-height:100vh;overflow-y:auto;font-size:.88rem;padding-bottom:24px}}
@media (max-width:600px){body{font-size:15px}th,td{padding:3px 7px}tbody th{max-width:38vw;white-space:normal;
overflow-wrap:break-word}td.wide{min-width:24ch}.card svg{width:calc(var(--wide)*1.1);max-width:none}}
@media print{:root{--ground:#fff;--ink:#000;--faint:#444;--rule:#bbb;--shade:#f3f3f3;--link:#000;--warned:#f6f6f6;
--warn:#666}
@page{size:A4;margin:14mm 12mm}
html{font-size:9pt}
body{display:block;padding:0;max-width:none;font-size:10pt}
main{max-width:none}
nav,.skip{display:none}
h2{break-before:page;border-top:0;margin-top:0}
#summary>h2{break-before:auto}
summary{break-after:avoid}
h2,h3,h4,caption{break-after:avoid}
caption span{max-width:none}
.box{overflow:visible}
table{font-size:7pt;width:100%;min-width:0}
th,td,td.wide,tbody th{white-space:normal;padding:2px 4px;overflow-wrap:break-word;min-width:0;max-width:none}
tbody th{position:static}
table:has(td.wide) td:not([class]){white-space:nowrap}
tr,figure,pre,.caveat{break-inside:avoid}
thead{display:table-header-group}
.card{border:0;padding:0}
.card svg{min-width:0;max-width:100%;max-height:200mm}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
details{border:0;padding:0}
details::details-content{content-visibility:visible;display:block;height:auto}
summary{list-style:none}
main a[href^="http"]::after{content:" (" attr(href) ")";font-size:.85em}}
"""
