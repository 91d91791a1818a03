// Small conveniences; every page works without them.
"use strict";

document.querySelectorAll("form[data-submit-on-change] select").forEach((select) =>
  select.addEventListener("change", () => {
    // The bounds belong to the sorted quantity: they have no meaning for another one.
    if (select.name === "sort") select.form.querySelectorAll("[data-bound]").forEach((bound) => { bound.value = ""; });
    select.form.requestSubmit();
  }));

// Left and right open the neighbouring channel; on a wall, the arrows move between channels; a slash begins a search.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (document.querySelector("dialog[open]")) return;
  const search = document.querySelector("input[type=search]");
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
    return;
  }
  const turn = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = turn && !document.querySelector("[data-arrows]") && document.querySelector(`.turn a[rel=${turn}]`);
  if (link) { location.href = link.href; return; }
  const links = [...document.querySelectorAll("[data-arrows] a")];
  const at = links.indexOf(document.activeElement);
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across(links), ArrowDown: across(links) };
  if (!links.length || !(event.key in steps) || (at < 0 && event.key !== "ArrowRight")) return;
  const next = links[at < 0 ? 0 : at + steps[event.key]];
  if (next) { event.preventDefault(); next.focus(); next.scrollIntoView({ block: "nearest" }); }
});

function across(links) {
  const first = links.length ? links[0].getBoundingClientRect().top : 0;
  const count = links.findIndex((link) => link.getBoundingClientRect().top > first + 1);
  return count < 0 ? links.length : count;
}

// On a wall, the tile below the pointer or with the focus is shown large, with its projections.
const pairs = document.querySelector("[data-pairs]");
if (pairs && matchMedia("(hover: hover)").matches) {
  const peek = Object.assign(document.createElement("div"), { className: "peek", hidden: true });
  peek.setAttribute("aria-hidden", "true");
  document.body.append(peek);
  let waiting;
  const show = (link) => {
    const source = link.querySelector("img").getAttribute("src");
    peek.replaceChildren(...["patch", "projection"].map((kind) => {
      const picture = new Image(300, 300);
      picture.alt = kind;
      picture.src = source.replace(/\/wall\/(patch|projection)/, `/wall/${kind}`);
      return picture;
    }));
    peek.hidden = false;
  };
  const hide = () => { clearTimeout(waiting); peek.hidden = true; };
  pairs.querySelectorAll("li > a").forEach((link) => {
    link.addEventListener("mouseenter", () => { clearTimeout(waiting); waiting = setTimeout(() => show(link), 180); });
    link.addEventListener("focus", () => { if (link.matches(":focus-visible")) show(link); });
    link.addEventListener("mouseleave", hide);
    link.addEventListener("blur", hide);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

// Channels of a wall can be selected; a link then shows these alone.
document.querySelectorAll("[data-selectable]").forEach((wall) => {
  const bar = Object.assign(document.createElement("p"), { className: "selection", hidden: true });
  const link = document.createElement("a"), clear = document.createElement("button"), chosen = new Set();
  clear.textContent = "clear";
  bar.append(link, " ", clear);
  wall.before(bar);
  const update = () => {
    const address = new URL(location.href);
    address.searchParams.set("channels", [...chosen].join(" "));
    link.href = address;
    link.textContent = `Link to ${chosen.size} selected channel${chosen.size === 1 ? "" : "s"}`;
    bar.hidden = !chosen.size;
  };
  const items = [...wall.querySelectorAll("[data-channel]")];
  items.forEach((item) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "choose", textContent: "✓" });
    button.setAttribute("aria-label", `select channel ${item.dataset.channel}`);
    button.setAttribute("aria-pressed", "false");
    button.tabIndex = -1; // with the keyboard, s selects the channel that has the focus
    button.addEventListener("click", () => {
      const on = item.classList.toggle("chosen");
      button.setAttribute("aria-pressed", String(on));
      chosen[on ? "add" : "delete"](item.dataset.channel);
      update();
    });
    item.append(button);
  });
  wall.addEventListener("keydown", (event) => {
    const item = event.key === "s" && event.target.closest("[data-channel]");
    if (item) item.querySelector(".choose").click();
  });
  clear.addEventListener("click", () =>
    items.filter((item) => item.classList.contains("chosen")).forEach((item) => item.querySelector(".choose").click()));
});

// On a channel's page, a patch, its projection and its row in the table light up together; a click shows the pair large.
const ranks = [...document.querySelectorAll("[data-ranks] [data-rank]")];
const ofRank = (rank) => ranks.filter((element) => element.dataset.rank === rank);
ranks.forEach((element) => {
  const same = () => ofRank(element.dataset.rank);
  for (const event of ["mouseenter", "focusin"]) element.addEventListener(event, () => same().forEach((each) => each.classList.add("lit")));
  for (const event of ["mouseleave", "focusout"]) element.addEventListener(event, () => same().forEach(dim));
});
const tiles = ranks.filter((element) => element.matches("a"));
if (tiles.length) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "a patch and its projection");
  dialog.tabIndex = -1;
  document.body.append(dialog);
  let rank = 0;
  const open = () => {
    const same = ofRank(String(rank)).filter((element) => element.matches("a"));
    const both = Object.assign(document.createElement("div"), { className: "both" });
    both.append(...same.map((tile) => tile.querySelector("img").cloneNode()));
    const words = document.createElement("p"), image = document.createElement("a"), close = document.createElement("button");
    image.href = same[0].href;
    image.textContent = same[0].title;
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    words.append(`Rank ${rank}`, image, close);
    dialog.replaceChildren(both, words);
    if (!dialog.open) dialog.showModal();
    dialog.focus(); // what had the focus has been replaced
  };
  tiles.forEach((tile) => tile.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    rank = Number(tile.dataset.rank);
    open();
  }));
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const count = Math.max(...tiles.map((tile) => Number(tile.dataset.rank))) + 1;
    if (!step) return;
    event.preventDefault();
    rank = (rank + step + count) % count;
    open();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

// On an image's page, a unit and its box light up together, and the lens shows the unit's patch and projection.
const lens = document.querySelector("[data-lens]");
const units = new Map();
document.querySelectorAll("[data-unit]").forEach((element) => {
  const number = element.dataset.unit;
  units.set(number, [...(units.get(number) ?? []), element]);
  for (const event of ["mouseenter", "focusin"]) element.addEventListener(event, () => light(units.get(number)));
  for (const event of ["mouseleave", "focusout"]) element.addEventListener(event, () => units.get(number).forEach(dim));
});

function light(elements) {
  elements.forEach((element) => element.classList.add("lit"));
  const card = elements.map((element) => element.querySelector("a")).find(Boolean);
  if (lens && card) lens.replaceChildren(...[...card.children].map((child) => child.cloneNode(true)));
}

function dim(element) {
  element.classList.remove("lit");
}

// Occlusion: the slider, or a pointer on a map, moves the square; the numbers of its position are shown.
document.querySelectorAll("[data-slide]").forEach(async (slide) => {
  const twin = await fetch(document.querySelector("link[rel=alternate]").href);
  const { found } = await twin.json();
  const range = slide.querySelector("input"), output = slide.querySelector("output");
  const first = (found.size - found.stride) / 2;
  slide.querySelectorAll("[data-needs-script]").forEach((element) => element.classList.add("ready"));
  const names = new Map(found.classes.map((entry) => [entry.class_index, entry.class_name ?? `class ${entry.class_index}`]));
  const name = (index) => names.get(index) ?? `class ${index}`;
  const followed = found.class_name ?? `class ${found.class_index}`;
  const percent = (share) => `${(100 * share).toFixed(0)} %`;

  function show() {
    const at = Number(range.value), row = Math.floor(at / found.cols), column = at % found.cols;
    const top = row * found.stride, left = column * found.stride;
    place(slide.querySelector("[data-square]"), left, top);
    slide.querySelectorAll("[data-cell]").forEach((cell) => place(cell, first + left, first + top));
    const rest = found.activation ? percent(found.activation_map[at] / found.activation) : "none";
    output.value = `Rows ${top} to ${top + found.size}, columns ${left} to ${left + found.size} hidden: ${rest} of the ` +
      `activation is left; ${followed} ${percent(found.probability_map[at])} (${percent(found.probability)} unoccluded); ` +
      `most probable: ${name(found.class_map[at])}.`;
  }

  range.addEventListener("input", show);
  slide.querySelectorAll("[data-map]").forEach((map) => map.addEventListener("pointermove", (event) => {
    const box = map.getBoundingClientRect(), scale = map.viewBox.baseVal.width / box.width;
    const at = (px, count) => Math.min(count - 1, Math.max(0, Math.floor((px * scale - first) / found.stride)));
    range.value = at(event.clientY - box.top, found.rows) * found.cols + at(event.clientX - box.left, found.cols);
    show();
  }));
  range.addEventListener("keydown", (event) => {
    const rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!rows) return;
    event.preventDefault();
    range.value = Number(range.value) + rows * found.cols;
    show();
  });
  show();
});

function place(shape, x, y) {
  shape.setAttribute("x", x);
  shape.setAttribute("y", y);
}

// Forms that change something are sent in place; what the service answers is shown beside them.
document.querySelectorAll("form[data-act]").forEach((form) => {
  form.classList.add("ready");
  form.addEventListener("submit", send);
});

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const outcome = document.querySelector("[data-outcome]"), button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST" });
    const problem = await answer.json();
    if (answer.ok) location.reload();
    else outcome.value = problem.detail ?? problem.title ?? `${answer.status}`;
  } catch {
    outcome.value = "The service does not answer.";
  }
  button.disabled = false;
}

// A note on a channel.
document.querySelectorAll("form[data-note]").forEach((form) => {
  form.classList.add("ready");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { layer, channel } = form.dataset;
    const body = JSON.stringify({ layer, channel: Number(channel), text: form.elements.text.value });
    const answer = await fetch(form.action, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (answer.ok) location.reload();
    else form.querySelector("output").value = (await answer.json()).detail ?? `${answer.status}`;
  });
});

// The last lines of a run's output, read again at most every ten seconds.
const log = document.querySelector("[data-logs]");
let isReading = false;
async function readLog() {
  if (!log || isReading) return;
  isReading = true;
  try {
    const answer = await fetch(log.dataset.logs);
    const text = answer.ok ? await answer.text() : "The output cannot be read.";
    log.textContent = text.trimEnd().split("\n").slice(-200).join("\n") || "No output yet.";
    log.scrollTop = log.scrollHeight;
  } catch {
    log.textContent = "The service does not answer.";
  }
  setTimeout(() => { isReading = false; }, 10_000);
}
readLog();

// The page of a submitted run follows its events; once the run is published, its own page opens at the same address.
document.querySelectorAll("[data-events]").forEach((panel) => {
  const source = new EventSource(panel.dataset.events);
  source.addEventListener("status", (event) => {
    const status = JSON.parse(event.data), values = { ...status.progress, ...status };
    const list = (values, format) => Object.entries(values ?? {}).map(format).join(", ") || "–";
    values.says = values.error || values.waits || "";
    values.rejected = list(values.rejects, ([reason, count]) => `${count} ${reason.replaceAll("_", " ")}`);
    values.time = list(values.shares, ([name, share]) => `${name} ${Math.round(100 * share)} %`);
    panel.querySelectorAll("[data-of]").forEach((field) => {
      const value = values[field.dataset.of];
      const shown = Number.isInteger(value) ? value : Number(Number(value).toPrecision(3));
      field.textContent = typeof value === "number" ? shown.toLocaleString("en") : value ?? "–";
    });
    const { done = 0, total = 0 } = status.progress ?? {};
    panel.querySelector("progress").value = total ? done / total : 0;
    const live = ["pending", "running"].includes(status.state);
    document.querySelectorAll("[data-when]").forEach((form) => { form.hidden = (form.dataset.when === "live") !== live; });
    readLog();
    if (live) return;
    source.close();
    if (status.state === "published") location.reload();
  });
});
