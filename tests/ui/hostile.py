"""Texts that would run, did a page show them as anything but text."""

from __future__ import annotations

#: The mark that a script leaves.
RAN = "window.ran=1"

#: Ways for markup to run something (after the OWASP cheat sheet on evading filters).
VECTORS = (
    f"<script>{RAN}</script>",
    f"<img src=x onerror={RAN}>",
    f"<svg onload={RAN}>",
    f"<svg><script>{RAN}</script></svg>",
    f"<body onload={RAN}>",
    f"<details open ontoggle={RAN}>",
    f"<input autofocus onfocus={RAN}>",
    f"<iframe srcdoc='<script>parent.{RAN}</script>'></iframe>",
    f"<a href='javascript:{RAN}'>x</a>",
    f"<form action='javascript:{RAN}'><button>x</button></form>",
    f"<object data='javascript:{RAN}'></object>",
    f"<video><source onerror={RAN}></video>",
    f"<marquee onstart={RAN}>x</marquee>",
    "<meta http-equiv=refresh content='0;url=javascript:window.ran=1'>",
    "<link rel=stylesheet href='data:text/css,*{display:none}'>",
    "<style>*{display:none}</style>",
    "<base href='http://localhost:1/'>",
    f"<div hx-get=/ hx-trigger=load hx-on::load={RAN}>x</div>",
    f"<template shadowrootmode=open><script>{RAN}</script></template>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={RAN}>",
    f"{{{{constructor.constructor('{RAN}')()}}}}",
    f"${{{RAN}}}",
    f"javascript:{RAN}",
    f"<!--><img src=x onerror={RAN}>-->",
    f"<noscript><p title='</noscript><img src=x onerror={RAN}>'>",
)

#: Ways out of where the text stands.
AROUND = (
    *("{}", '"{}', "'>{}", '">{}<"', "`{}`", "\u202e{}"),
    *("</title></textarea></script></style>{}", "--></pre></code>{}"),
)

#: Each vector in each place: 200 texts.
TEXTS = tuple(around.replace("{}", vector) for around in AROUND for vector in VECTORS)
