// The trial table: sorts, filters and turns pages over columns of plain data. Texts are only ever set as
// text, never as markup: a guest may have written them.
"use strict";
(function () {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const t = data.trials, words = t.words, rows = t.outcome.length, size = 50;
  // From the worst on.
  const outcomes = new Map(data.outcomes.map((outcome) => [outcome.letter, outcome]));
  const order = [...outcomes.keys()].join("");
  const rank = new Uint8Array(rows);
  for (let i = 0; i < rows; i++) rank[i] = order.indexOf(t.outcome[i]);
  const details = new Map(data.details.map((detail) => [detail.id, detail]));
  const id = (i) => (t.id ? t.id[i] : i);
  const hex = (n) => "0x" + n.toString(16);
  const where = (i) => {
    const place = t.place[i] < 0 ? words[-1 - t.place[i]] : hex(t.place[i]);
    const bits = t.bit[i] < 0 ? " mask " + t.mask[i] : ":" + t.bit[i];
    return place + bits + (i in t.operation ? " " + words[t.operation[i]] : "");
  };
  const symbol = (i) => (t.symbol[i] < 0 ? "" : words[t.symbol[i]] + (t.offset[i] ? "+" + hex(t.offset[i]) : ""));
  const region = (i) => (t.region[i] < 0 ? "" : words[t.region[i]]);
  const title = (i) => (i in t.title ? words[t.title[i]] : i in t.error ? words[t.error[i]] : "");
  const time = (ns) =>
    ns < 1e3 ? ns + " ns" : ns < 1e6 ? (ns / 1e3).toFixed(3) + " µs" : ns < 1e9 ? (ns / 1e6).toFixed(3) + " ms" : (ns / 1e9).toFixed(3) + " s";

  // What a column is sorted by: words by their place in the alphabet, which is found out once.
  let alphabet = null;
  const letters = (word) => {
    if (word < 0 || word === undefined) return -1;
    if (!alphabet) {
      alphabet = new Int32Array(words.length);
      [...words.keys()].sort((a, b) => (words[a] < words[b] ? -1 : words[a] > words[b] ? 1 : 0)).forEach((w, at) => (alphabet[w] = at));
    }
    return alphabet[word];
  };
  const keys = {
    trial: id,
    outcome: (i) => rank[i],
    stratum: (i) => t.stratum[i],
    at: (i) => t.at[i],
    place: (i) => (t.place[i] < 0 ? -1e6 + letters(-1 - t.place[i]) : t.place[i]) + (t.bit[i] + 1) / 4096,
    symbol: (i) => letters(t.symbol[i] < 0 ? t.region[i] : t.symbol[i]),
    report: (i) => letters(i in t.title ? t.title[i] : t.error[i]),
  };

  let shown = [], page = 0, sorted = "outcome", down = false, open = new Set();

  function filter() {
    const wanted = new Set([...document.querySelectorAll("#outcomes input:checked")].map((box) => box.value));
    const stratum = $("stratum").value, text = $("search").value.trim().toLowerCase();
    shown = [];
    for (let i = 0; i < rows; i++) {
      if (!wanted.has(t.outcome[i]) || (stratum !== "" && t.stratum[i] !== +stratum)) continue;
      if (text && !(id(i) + "\n" + where(i) + "\n" + symbol(i) + "\n" + region(i) + "\n" + title(i)).toLowerCase().includes(text)) continue;
      shown.push(i);
    }
    sort();
  }

  function sort() {
    const key = keys[sorted], values = new Float64Array(rows);
    for (const i of shown) values[i] = key(i);
    const sign = down ? -1 : 1;
    shown.sort((a, b) => sign * (values[a] - values[b]) || a - b);
    page = 0;
    draw();
  }

  function h(tag, properties, ...children) {
    const element = document.createElement(tag);
    Object.assign(element, properties);
    element.append(...children);
    return element;
  }

  function mark(letter) {
    const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg"), path = document.createElementNS(space, "path");
    for (const [name, value] of [["width", 16], ["height", 14], ["viewBox", "0 0 16 14"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
    path.setAttribute("class", "m-" + outcomes.get(letter).name);
    path.setAttribute("d", outcomes.get(letter).mark);
    svg.append(path);
    return svg;
  }

  function cell(label, text, kind) {
    const td = h("td", { className: (kind || "") + (text === "" ? " empty" : "") }, text);
    td.dataset.label = label;
    return td;
  }

  function evidence(i) {
    const known = details.get(id(i)), list = h("dl", {});
    const add = (name, text) => list.append(h("dt", {}, name), h("dd", {}, text));
    if (known) {
      for (const [name, text] of known.facts) add(name, text);
    } else {
      const flip = t.begin === null ? null : t.begin + t.at[i];
      if (flip !== null && t.end[i] >= 0) add("virtual time", "flip at " + flip + " ns, end at " + t.ends[t.end[i]] + " ns of the guest's clock");
      if (region(i) || symbol(i)) add("place", [region(i), symbol(i)].filter(Boolean).join(", "));
      if (title(i)) add("report", title(i));
      if (i in t.detected) add("noticed", (i in t.seen ? "after the checkpoint before, by the one " : "") + time(t.detected[i]) + " after the flip");
      add("more", "This page has no more of this trial; the commands below have.");
    }
    add("again", h("code", {}, data.replay + id(i)));
    const box = h("div", {}, list);
    if (known && known.console !== null) box.append(h("pre", {}, known.console));
    return box;
  }

  function draw() {
    const body = $("rows"), from = page * size, some = shown.slice(from, from + size), list = [];
    for (const i of some) {
      const number = id(i), is = open.has(number);
      const button = h("button", { type: "button", onclick: () => { is ? open.delete(number) : open.add(number); draw(); $("t" + number).focus(); } }, String(number));
      button.id = "t" + number;
      button.setAttribute("aria-expanded", is);
      const first = h("td", { className: "id" }, button);
      first.dataset.label = "trial";
      const letter = t.outcome[i], outcome = cell("outcome", outcomes.get(letter).name, "outcome");
      if (outcomes.get(letter).mark) outcome.prepend(mark(letter));
      list.push(h("tr", {}, first, outcome, cell("stratum", t.strata[t.stratum[i]]), cell("time", time(t.at[i]), "n"),
        cell("fault", where(i), "code"), cell("symbol or region", symbol(i) || region(i)), cell("report", title(i))));
      if (is) list.push(h("tr", { className: "more" }, h("td", { colSpan: 7 }, evidence(i))));
    }
    body.replaceChildren(...list);
    const last = Math.max(0, Math.ceil(shown.length / size) - 1);
    $("count").textContent = shown.length === 0 ? "no trial" : from + 1 + " to " + (from + some.length) + " of " + shown.length + (shown.length < rows ? " (" + rows + " in this list)" : "");
    $("previous").disabled = page === 0;
    $("next").disabled = page >= last;
    for (const head of document.querySelectorAll("#trials th")) {
      if (head.dataset.key === sorted) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  for (const head of document.querySelectorAll("#trials th")) {
    const button = h("button", { type: "button", onclick: () => { down = sorted === head.dataset.key && !down; sorted = head.dataset.key; sort(); } }, head.textContent);
    head.replaceChildren(button);
  }
  let waiting = 0;
  $("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  $("stratum").addEventListener("change", filter);
  for (const box of document.querySelectorAll("#outcomes input")) box.addEventListener("change", filter);
  $("previous").addEventListener("click", () => { page--; draw(); });
  $("next").addEventListener("click", () => { page++; draw(); });
  for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
  for (const part of document.querySelectorAll(".unscripted")) part.hidden = true;
  filter();
})();
