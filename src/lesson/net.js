"use strict";
// A network of fully connected layers, with or without shortcuts, and the gradient of its loss. Arrays are row by row;
// a batch of B rows goes in, and B rows of logits come out. Everything is deterministic by its seed.

// Uniform numbers in [0, 1) from a seed (Marsaglia 2003, xorshift).
function makeRandom(seed) {
  let state = (Math.imul(seed + 1, 0x9e3779b1) >>> 0) || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 4294967296;
  };
}

function drawNormal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

// A layer [outputs, inputs] by He et al. 2015: deviation sqrt(2 / inputs), times scale; no bias yet.
function makeLayer(inputs, outputs, random, scale = 1) {
  const deviation = scale * Math.sqrt(2 / inputs);
  const weights = Float64Array.from({length: inputs * outputs}, () => deviation * drawNormal(random));
  const empty = length => new Float64Array(length);
  return {
    inputs, outputs, weights, bias: empty(outputs),
    weightGradient: empty(weights.length), biasGradient: empty(outputs),
    weightSpeed: empty(weights.length), biasSpeed: empty(outputs),
  };
}

// A stem, blocks of two layers, and a last layer. A block gives relu(F(x)), or relu(x + F(x)) with shortcuts. There the
// second layer of F begins smaller, or the sum of many blocks would grow beyond all bounds.
function makeNet({inputs, width, classes, blocks, residual, seed}) {
  const random = makeRandom(seed);
  const scale = residual ? 1 / Math.sqrt(Math.max(1, blocks)) : 1;
  const stem = makeLayer(inputs, width, random);
  const pairs = Array.from({length: blocks}, () => [
    makeLayer(width, width, random), makeLayer(width, width, random, scale),
  ]);
  const last = makeLayer(width, classes, random, Math.SQRT1_2);
  return {residual, stem, pairs, last, layers: [stem, ...pairs.flat(), last]};
}

// y = W x + b for each of the rows.
function applyLayer(layer, x, rows) {
  const {inputs, outputs, weights, bias} = layer;
  const y = new Float64Array(rows * outputs);
  for (let row = 0; row < rows; row++) {
    const from = row * inputs;
    for (let out = 0; out < outputs; out++) {
      let sum = bias[out];
      const at = out * inputs;
      for (let i = 0; i < inputs; i++) sum += weights[at + i] * x[from + i];
      y[row * outputs + out] = sum;
    }
  }
  return y;
}

// From the gradient of y: add that of the layer to what it has, and return that of x.
function reverseLayer(layer, x, gradient, rows) {
  const {inputs, outputs, weights, weightGradient, biasGradient} = layer;
  const back = new Float64Array(rows * inputs);
  for (let row = 0; row < rows; row++) {
    const from = row * inputs;
    for (let out = 0; out < outputs; out++) {
      const slope = gradient[row * outputs + out];
      if (slope === 0) continue;
      biasGradient[out] += slope;
      const at = out * inputs;
      for (let i = 0; i < inputs; i++) {
        weightGradient[at + i] += slope * x[from + i];
        back[from + i] += slope * weights[at + i];
      }
    }
  }
  return back;
}

function rectify(x) {
  return x.map(value => (value > 0 ? value : 0));
}

// The gradient before a relu that gave y.
function reverseRectify(gradient, y) {
  return gradient.map((value, i) => (y[i] > 0 ? value : 0));
}

// The logits, and what the way back needs: the input of each block, and the middle of it.
function forward(net, x, rows) {
  const inner = [];
  let h = rectify(applyLayer(net.stem, x, rows));
  for (const [first, second] of net.pairs) {
    const middle = rectify(applyLayer(first, h, rows));
    const y = applyLayer(second, middle, rows);
    if (net.residual) for (let i = 0; i < y.length; i++) y[i] += h[i];
    inner.push({h, middle});
    h = rectify(y);
  }
  return {x, inner, h, logits: applyLayer(net.last, h, rows)};
}

// The mean cross-entropy, and its gradient by the logits.
function measureLoss(logits, labels, classes) {
  const rows = labels.length, gradient = new Float64Array(logits.length);
  let loss = 0;
  for (let row = 0; row < rows; row++) {
    const each = logits.subarray(row * classes, (row + 1) * classes);
    const most = Math.max(...each);
    const powers = each.map(value => Math.exp(value - most));
    const sum = powers.reduce((a, b) => a + b, 0);
    loss += (Math.log(sum) - each[labels[row]] + most) / rows;
    powers.forEach((power, i) => {
      gradient[row * classes + i] = (power / sum - (i === labels[row] ? 1 : 0)) / rows;
    });
  }
  return {loss, gradient};
}

// Set the gradient of every layer, and return the loss.
function computeGradient(net, x, labels) {
  const rows = labels.length;
  for (const layer of net.layers) {
    layer.weightGradient.fill(0);
    layer.biasGradient.fill(0);
  }
  const {inner, h, logits} = forward(net, x, rows);
  const {loss, gradient} = measureLoss(logits, labels, net.last.outputs);
  let back = reverseLayer(net.last, h, gradient, rows), y = h;
  for (let block = net.pairs.length - 1; block >= 0; block--) {
    const [first, second] = net.pairs[block], {h: before, middle} = inner[block];
    const sum = reverseRectify(back, y);
    const through = reverseRectify(reverseLayer(second, middle, sum, rows), middle);
    back = reverseLayer(first, before, through, rows);
    if (net.residual) for (let i = 0; i < back.length; i++) back[i] += sum[i];
    y = before;
  }
  reverseLayer(net.stem, x, reverseRectify(back, y), rows);
  return loss;
}

// One step of SGD with momentum; a gradient longer than `most` is shortened to that, in both nets alike.
function takeStep(net, x, labels, {rate, momentum = 0.9, most = 1}) {
  const loss = computeGradient(net, x, labels);
  let square = 0;
  for (const layer of net.layers) {
    for (const value of layer.weightGradient) square += value * value;
    for (const value of layer.biasGradient) square += value * value;
  }
  const scale = Math.min(1, most / Math.sqrt(square || 1));
  for (const layer of net.layers) {
    for (const [values, gradient, speed] of [
      [layer.weights, layer.weightGradient, layer.weightSpeed], [layer.bias, layer.biasGradient, layer.biasSpeed],
    ]) {
      for (let i = 0; i < values.length; i++) {
        speed[i] = momentum * speed[i] + scale * gradient[i];
        values[i] -= rate * speed[i];
      }
    }
  }
  return loss;
}

// The fraction of the rows that are classified rightly.
function measureAccuracy(net, x, labels) {
  const {logits} = forward(net, x, labels.length), classes = net.last.outputs;
  let right = 0;
  labels.forEach((label, row) => {
    const each = logits.subarray(row * classes, (row + 1) * classes);
    right += each.indexOf(Math.max(...each)) === label ? 1 : 0;
  });
  return right / labels.length;
}

// The norm of the last gradient of each layer's weights, the first layer first.
function listGradientNorms(net) {
  return net.layers.map(layer => Math.sqrt(layer.weightGradient.reduce((sum, value) => sum + value * value, 0)));
}

// Images as rows of numbers about 0, and their labels, from one byte a pixel, 0 to 16, and one a label.
function readDigits(base64, pixels) {
  const bytes = Uint8Array.from(atob(base64), sign => sign.charCodeAt(0)), count = bytes.length / (pixels + 1);
  const x = new Float64Array(count * pixels), labels = Array.from(bytes.subarray(count * pixels));
  for (let i = 0; i < x.length; i++) x[i] = (bytes[i] - 5) / 6;
  return {x, labels, pixels};
}

// A batch of so many images at random.
function drawBatch({x, labels, pixels}, size, random) {
  const rows = new Float64Array(size * pixels), chosen = [];
  for (let row = 0; row < size; row++) {
    const i = Math.floor(random() * labels.length);
    rows.set(x.subarray(i * pixels, (i + 1) * pixels), row * pixels);
    chosen.push(labels[i]);
  }
  return {x: rows, labels: chosen};
}

if (typeof module !== "undefined") {
  module.exports = {
    makeRandom, makeNet, computeGradient, takeStep, measureAccuracy, listGradientNorms, readDigits, drawBatch,
  };
}
