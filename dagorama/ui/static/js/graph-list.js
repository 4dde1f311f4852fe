// The graph as a list, for keyboards and screen readers: the same vertices, in the same order, with what they lead to.

import { inWords, markElement, wordOf, grouped } from "./marks.js";

const make = (name, className, text) => { const node = document.createElement(name); if (className) node.className = className; if (text !== undefined) node.textContent = text; return node; };

/**
 * Show vertices as a list. Items that are there stay, so that the focus does.
 * @param {HTMLElement} list
 * @param {Map<string, any>} vertices
 * @param {Map<string, string[]>} after the names of what each leads to, by key
 * @param {{toggle: (key: string) => void, next: (key: string) => void, show: (key: string) => void}} told
 */
export const showList = (list, vertices, after, told) => {
  const known = new Map([...list.children].map((item) => [item.dataset.key, item]));
  let place = 0;
  for (const vertex of vertices.values()) {
    const item = known.get(vertex.key) || makeItem(vertex.key, told);
    known.delete(vertex.key);
    fill(item, vertex, after.get(vertex.key) || []);
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] || null);
    place += 1;
  }
  for (const gone of known.values()) gone.remove();
};

const makeItem = (key, told) => {
  const item = make("li");
  item.dataset.key = key;
  const row = make("div", "item"), words = make("div"), name = make("a", "name row"), under = make("span", "under"), mark = make("span"), button = make("button", "bare");
  button.type = "button";
  words.append(name, under);
  row.append(mark, words, button);
  item.append(row);
  name.addEventListener("focus", () => told.show(key));
  button.addEventListener("click", () => told.toggle(key));
  item.addEventListener("click", (event) => { if (event.target.dataset?.next) told.next(key); });
  return item;
};

const fill = (item, vertex, after) => {
  const [mark, words, button] = item.firstChild.children, [name, under] = words.children;
  const told = vertex.group ? `${grouped(vertex.total)}: ${inWords(vertex.counts)}` : wordOf(vertex.state);
  if (item.dataset.state !== vertex.state) { item.dataset.state = vertex.state; mark.replaceChildren(markElement(vertex.state)); }
  name.textContent = vertex.label && !vertex.group ? `${vertex.name} · ${vertex.label}` : vertex.name;
  name.href = vertex.url;
  name.title = vertex.function;
  under.textContent = `${told}${after.length ? ` → ${after.slice(0, 4).join(", ")}${after.length > 4 ? " …" : ""}` : ""}`;
  button.hidden = !vertex.group;
  button.textContent = vertex.part ? "Fold" : "Open";
  button.setAttribute("aria-expanded", String(Boolean(vertex.part)));
  button.setAttribute("aria-label", `${vertex.part ? "Fold" : "Open"} ${vertex.name}`);
  fillCells(item, vertex);
};

const fillCells = (item, vertex) => {
  let cells = item.querySelector("ol");
  if (!vertex.part) { cells?.remove(); return; }
  const told = JSON.stringify(vertex.part.cells);
  if (cells && cells.dataset.told === told) return;
  const focused = cells?.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  cells?.remove();
  cells = make("ol");
  cells.dataset.told = told;
  for (const cell of vertex.part.cells) {
    const row = make("li"), line = make("div", "item"), name = make("a", "name", cell.label || cell.id.slice(-12));
    name.href = cell.url;
    line.append(markElement(cell.state), name);
    row.append(line);
    cells.append(row);
  }
  if (vertex.part.next) {
    const more = make("button", "bare", "Next 500");
    more.type = "button";
    more.dataset.next = "1";
    const row = make("li");
    row.append(more);
    cells.append(row);
  }
  item.append(cells);
  if (focused) cells.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
};
