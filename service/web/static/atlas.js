// Small comforts; every page works without them.
"use strict";
document.querySelectorAll("form[data-submit-on-change] select").forEach((select) =>
  select.addEventListener("change", () => select.form.requestSubmit()));

// Left and right turn to the neighbouring channel; on a wall the arrows move between channels.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const turn = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = turn && document.querySelector(`a[rel=${turn}]`);
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

// On an image's page a unit and its box light up together.
document.querySelectorAll("[data-unit]").forEach((one) => {
  const both = () => document.querySelectorAll(`[data-unit="${one.dataset.unit}"]`);
  one.addEventListener("mouseenter", () => both().forEach((each) => each.classList.add("lit")));
  one.addEventListener("mouseleave", () => both().forEach((each) => each.classList.remove("lit")));
});
