"""The page: images are dropped, pasted or chosen, and answered one after the other."""

from __future__ import annotations

import html

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>NAME – fsgl</title><style>
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5f6872; --line: #d9dee3; --paper: #fff; --card: #f6f7f9;
  --bar: #3a6ea5; --warn: #a1440b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa4ae; --line: #343a41; --paper: #16191c;
  --card: #1e2226; --bar: #79aee0; --warn: #f0a06a; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 52rem;
  margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.3rem; margin: 0; overflow-wrap: anywhere; } p { margin: .25rem 0; } .soft { color: var(--soft); }
#drop { display: block; width: 100%; margin: 1rem 0; padding: 2.5rem 1rem; border: 2px dashed var(--line);
  border-radius: 12px; background: none; color: inherit; font: inherit; cursor: pointer; text-align: center; }
#drop:hover, #drop:focus-visible, #drop.over { border-color: var(--bar); outline: none; }
article { display: grid; grid-template-columns: 11rem 1fr; gap: 1.25rem; padding: 1rem; margin: 1rem 0;
  background: var(--card); border-radius: 12px; }
article > img { width: 100%; max-height: 14rem; object-fit: contain; border-radius: 8px; image-rendering: auto; }
ol { list-style: none; margin: .5rem 0; padding: 0; } ol li { margin: .35rem 0; }
.row { display: flex; justify-content: space-between; gap: 1rem; } .row b { overflow-wrap: anywhere; }
.track { height: 6px; border-radius: 3px; background: var(--line); } .track div { height: 100%; border-radius: 3px;
  background: var(--bar); } small { color: var(--soft); }
.near { display: flex; flex-wrap: wrap; gap: .6rem; } figure { margin: 0; width: 5.2rem; font-size: .78rem; }
figure img { width: 100%; height: 5.2rem; object-fit: cover; border-radius: 6px; }
figcaption { overflow-wrap: anywhere; }
.why { font: inherit; font-size: .85rem; color: inherit; background: none; border: 1px solid var(--line);
  border-radius: 6px; padding: .25rem .6rem; margin: .5rem 0; cursor: pointer; } .why:focus-visible { outline-color:
  var(--bar); } .looked { max-width: 14rem; width: 100%; border-radius: 8px; display: block; margin: .5rem 0; }
.bad { color: var(--warn); }
@media (max-width: 34rem) { article { grid-template-columns: 1fr; } }
</style></head><body>
<h1>NAME</h1><p class="soft">CLASSES classes. Images stay on this machine.NEAR</p>
<button id="drop">Drop images here, paste one, or press to choose</button>
<input id="files" type="file" accept="image/*" multiple hidden>
<main id="answers" aria-live="polite"></main>
<script>
const drop = document.getElementById("drop"), files = document.getElementById("files");
const answers = document.getElementById("answers"), MOST = 50;
let queue = Promise.resolve();
function element(kind, text, parent) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}
function ask(list) {
  for (const file of [...list].slice(0, MOST)) {
    const card = element("article");
    const picture = element("img", "", card);
    picture.src = URL.createObjectURL(file);
    picture.alt = file.name || "pasted image";
    const said = element("div", "", card);
    element("p", file.name || "pasted image", said).className = "soft";
    const wait = element("p", "…", said);
    answers.prepend(card);
    queue = queue.then(() => answer(file, said)).catch(() => {
      element("p", "the server does not answer", said).className = "bad";
    }).then(() => wait.remove());
  }
}
function send(where, file) {
  return fetch(where, {method: "POST", body: file,
    headers: {"Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream"}});
}
async function look(file, name, button) {
  button.disabled = true;
  button.textContent = "…";
  let made;
  try {
    const reply = await send("why?class=" + encodeURIComponent(name), file), found = await reply.json();
    if (reply.ok && found.looked) {
      made = element("div");
      const image = element("img", "", made);
      image.className = "looked";
      image.src = found.looked;
      image.alt = "where the network looked for " + found.class;
      element("p", "where it looked for " + found.class + ", in red", made).className = "soft";
    } else {
      made = element("p", reply.ok ? "this network has no feature maps that could be shown" : found.error);
      made.className = reply.ok ? "soft" : "bad";
    }
  } catch {
    made = element("p", "the server does not answer");
    made.className = "bad";
  }
  button.replaceWith(made);
}
async function answer(file, said) {
  const reply = await send("predict", file);
  const found = await reply.json();
  if (!reply.ok) { element("p", found.error, said).className = "bad"; return; }
  const list = element("ol", "", said);
  for (const each of found.predictions) {
    const item = element("li", "", list), row = element("div", "", item);
    row.className = "row";
    element("b", each.class, row);
    element("span", (100 * each.probability).toFixed(1) + " %", row);
    const track = element("div", "", item);
    track.className = "track";
    element("div", "", track).style.width = 100 * each.probability + "%";
    element("small", each.training_images.toLocaleString("en") + " training images, " + each.group + "-shot", item);
  }
  if (found.set) {
    const share = +(100 * found.set.coverage).toFixed(4);
    element("p", "set that holds the class in " + share + " % of cases: " + found.set.classes.join(", "), said);
  }
  if (!found.calibrated) element("small", "probabilities are not calibrated", said);
  const button = element("button", "where it looked", element("div", "", said));
  button.className = "why";
  button.onclick = () => look(file, found.predictions[0].class, button);
  for (const note of found.notes) element("p", note, said).className = "soft";
  if (!found.nearest.length) return;
  element("p", "nearest training images", said).className = "soft";
  const near = element("div", "", said);
  near.className = "near";
  for (const each of found.nearest) {
    const figure = element("figure", "", near), image = element("img", "", figure);
    image.src = each.image;
    image.alt = "";
    element("figcaption", each.class + " " + each.cosine.toFixed(2), figure);
  }
}
drop.onclick = () => files.click();
files.onchange = () => { ask(files.files); files.value = ""; };
addEventListener("dragover", event => { event.preventDefault(); drop.classList.add("over"); });
addEventListener("dragleave", () => drop.classList.remove("over"));
addEventListener("drop", event => {
  event.preventDefault();
  drop.classList.remove("over");
  ask(event.dataTransfer.files);
});
addEventListener("paste", event => ask(event.clipboardData.files));
</script></body></html>
"""


def page(name: str, classes: int, nearest: bool) -> str:
    """The page for a run."""
    note = "" if nearest else " The training images are not at hand, so that the nearest cannot be shown."
    return PAGE.replace("NAME", html.escape(name)).replace("CLASSES", f"{classes:,}").replace("NEAR", html.escape(note))
