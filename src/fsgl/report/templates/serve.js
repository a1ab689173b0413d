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
