"use strict";
// Train both networks while the page is open, one step of each at a time, and draw how they fare.
const STEPS = 500, EVERY = 10, BATCH = 32, RATE = 0.03, WIDTH = 16, PIXELS = 64;
const train = readDigits(DIGITS.train, PIXELS), test = readDigits(DIGITS.test, PIXELS);
const KINDS = ["residual", "plain"], find = id => document.getElementById(id);
let run, together = 1, paused = false;

// Begin anew with as many blocks as the slider says.
function begin() {
  const blocks = Number(find("depth").value), sizes = {inputs: PIXELS, width: WIDTH, classes: 10, blocks, seed: 0};
  find("layers").textContent = 2 * blocks + 2;
  const nets = Object.fromEntries(KINDS.map(kind => [kind, makeNet({...sizes, residual: kind === "residual"})]));
  run = {nets, step: 0, random: makeRandom(7), scores: {residual: [], plain: []}};
  measure();
}

// One step of both networks with the same images.
function advance() {
  const batch = drawBatch(train, BATCH, run.random), rate = RATE * (1 - run.step / STEPS);
  for (const kind of KINDS) takeStep(run.nets[kind], batch.x, batch.labels, {rate});
  run.step += 1;
  if (run.step % EVERY === 0) measure();
}

// Test both networks, and show it.
function measure() {
  for (const kind of KINDS) {
    const accuracy = measureAccuracy(run.nets[kind], test.x, test.labels);
    run.scores[kind].push(accuracy);
    find(`${kind}-score`).textContent = `${(100 * accuracy).toFixed(0)} %`;
    find("live").dataset[kind] = accuracy.toFixed(4);
  }
  find("live").dataset.steps = run.step;
  find("progress").textContent = run.step < STEPS ? `Step ${run.step} of ${STEPS}.` : `Finished, ${STEPS} steps.`;
  draw();
}

function readColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// A canvas as sharp as the screen, empty, and its size in CSS pixels.
function clear(canvas) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  return {pen, width, height};
}

function draw() {
  drawCurves();
  for (const kind of KINDS) drawBars(kind);
}

function drawCurves() {
  const {pen, width, height} = clear(find("curves")), left = 48, bottom = height - 8;
  const place = (step, accuracy) => [left + (width - left - 8) * step / STEPS, bottom - (bottom - 8) * accuracy];
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const accuracy of [0, 0.5, 1]) {
    const [x, y] = place(0, accuracy);
    pen.strokeStyle = readColour("--grid");
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(width - 8, y);
    pen.stroke();
    pen.fillStyle = readColour("--soft");
    pen.fillText(`${100 * accuracy} %`, left - 6, y);
  }
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  for (const kind of KINDS) {
    pen.strokeStyle = readColour(kind === "residual" ? "--c0" : "--c1");
    pen.beginPath();
    run.scores[kind].forEach((accuracy, i) => pen[i ? "lineTo" : "moveTo"](...place(i * EVERY, accuracy)));
    pen.stroke();
  }
}

// Bars from 10^-6 to 10.
function drawBars(kind) {
  const {pen, width, height} = clear(find(`${kind}-bars`)), norms = listGradientNorms(run.nets[kind]);
  const wide = width / norms.length;
  pen.fillStyle = readColour(kind === "residual" ? "--c0" : "--c1");
  norms.forEach((norm, i) => {
    const high = height * Math.min(1, Math.max(0.01, (Math.log10(norm || 1e-9) + 6) / 7));
    pen.fillRect(i * wide, height - high, Math.max(1, wide - 1), high);
  });
}

// As many steps at once as leave the page responsive.
function goOn() {
  const before = performance.now();
  for (let i = 0; i < together && !paused && run.step < STEPS; i++) advance();
  const took = performance.now() - before;
  together = Math.max(1, Math.min(10, took > 20 ? together - 1 : took < 10 ? together + 1 : together));
  setTimeout(goOn, 10);
}

find("depth").addEventListener("input", begin);
find("again").addEventListener("click", begin);
find("pause").addEventListener("click", event => {
  paused = !paused;
  event.target.textContent = paused ? "Go on" : "Pause";
});
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
begin();
goOn();
