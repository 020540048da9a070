"use strict";
// Elements and curves. Texts go in as texts, never as markup: names of runs come from files.
const make = (tag, text = "", kind = "", attributes = {}) => {
  const element = document.createElement(tag);
  if (text !== "") element.textContent = text;
  if (kind) element.className = kind;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

const shape = (tag, attributes, text = "") => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
};

// Round numbers between two values, about `count` of them.
function ticks(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map(f => f * power).find(s => span / s <= count) || span;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

const digits = value => String(Number(value.toPrecision(6)));

function bounds(series, place) {
  let low = Infinity, high = -Infinity;
  for (const each of series) for (const point of each.points) {
    low = Math.min(low, point[place]);
    high = Math.max(high, point[place]);
  }
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

const trace = (points, x, y) => points.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("");

// Draw curves over epochs as a figure; a curve is {name, points}, at most eight of them.
function drawChart(title, series) {
  const [width, height, left, right, top, bottom] = [420, 240, 48, 10, 8, 26];
  const [firstX, lastX] = bounds(series, 0), [lowY, highY] = bounds(series, 1);
  const x = v => left + (v - firstX) / (lastX - firstX) * (width - left - right);
  const y = v => height - bottom - (v - lowY) / (highY - lowY) * (height - top - bottom);
  const svg = shape("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} by epoch`});
  for (const v of ticks(lowY, highY, 5)) {
    svg.append(shape("path", {class: "axis", d: `M${left} ${y(v)}H${width - right}`}));
    svg.append(shape("text", {x: left - 6, y: y(v) + 4, "text-anchor": "end"}, digits(v)));
  }
  for (const v of ticks(firstX, lastX, 6).filter(Number.isInteger))
    svg.append(shape("text", {x: x(v), y: height - 8, "text-anchor": "middle"}, digits(v)));
  const key = make("ul", "", "key");
  series.forEach((each, i) => {
    const style = {class: `k${i % 8}`, fill: "none", "stroke-width": 1.8, "stroke-linejoin": "round", d: trace(each.points, x, y)};
    svg.append(shape("path", style));
    if (each.points.length === 1) {
      const [px, py] = each.points[0];
      svg.append(shape("circle", {class: `k${i % 8}`, cx: x(px), cy: y(py), r: 2.5, fill: "none", "stroke-width": 1.8}));
    }
    const entry = make("li", each.name);
    entry.prepend(make("i", "", `k${i % 8}`));
    key.append(entry);
  });
  const figure = make("figure");
  figure.append(make("h3", title), svg, key);
  return figure;
}

// Draw one curve as small as a word.
function drawSpark(points) {
  const svg = shape("svg", {viewBox: "0 0 112 26", class: "spark", "aria-hidden": "true", preserveAspectRatio: "none"});
  if (points.length < 2) return svg;
  const [firstX, lastX] = bounds([{points}], 0), [lowY, highY] = bounds([{points}], 1);
  const x = v => 2 + (v - firstX) / (lastX - firstX) * 108, y = v => 24 - (v - lowY) / (highY - lowY) * 22;
  svg.append(shape("path", {class: "k0", fill: "none", "stroke-width": 1.5, d: trace(points, x, y)}));
  return svg;
}
