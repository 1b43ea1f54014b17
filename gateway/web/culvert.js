"use strict";

// Copy buttons and a refresh in place. The page works without this file.

const period = 5000; // ms between refreshes

function addButtons(root) {
  for (const code of root.querySelectorAll(".lines code")) {
    if (code.nextElementSibling) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy " + code.textContent);
    button.addEventListener("click", () => copy(code, button));
    code.after(button);
  }
}

async function copy(code, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // Without HTTPS browsers have no clipboard interface: select, then the old way.
    getSelection().selectAllChildren(code);
    done = document.execCommand("copy");
  }
  button.textContent = done ? "Copied" : "Selected";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

async function refresh() {
  const answer = await fetch("/streams.json", { cache: "no-store" });
  if (!answer.ok) return;
  const { streams } = await answer.json();
  const shown = [...document.querySelectorAll("#streams article")].map((a) => a.id);
  if (shown.join() !== streams.map((s) => s.id).join()) {
    await rebuild();
    return;
  }
  for (const stream of streams) {
    const article = document.getElementById(stream.id);
    for (const field of article.querySelectorAll("[data-field]")) {
      const value = stream[field.dataset.field];
      if (field.textContent !== value) field.textContent = value;
    }
  }
}

// rebuild takes the list from a fresh page and keeps open what the reader had opened.
async function rebuild() {
  const answer = await fetch("/", { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("streams");
  if (!fresh) return;
  for (const open of document.querySelectorAll("#streams article details[open]")) {
    const same = fresh.querySelector("#" + open.closest("article").id + " details");
    if (same) same.open = true;
  }
  addButtons(fresh);
  document.getElementById("streams").replaceWith(fresh);
}

async function run() {
  try {
    if (!document.hidden) await refresh();
  } catch {
    // The gateway restarts or the network is away: try again next time.
  }
  setTimeout(run, period);
}

addButtons(document);
setTimeout(run, period);
