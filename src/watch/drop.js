"use strict";
// Send dropped images one by one, four at a time, each as the body of a request of its own; their names stay here.
const drop = {limits: null, waiting: [], active: 0};

function offerDrop(limits) {
  document.getElementById("drop").hidden = !limits;
  if (!limits || drop.limits) return;
  drop.limits = limits;
  document.getElementById("invite").textContent = `Drop images here, or press to choose them: ${limits.name} names what is in them (up to ${limits.most_files} at once, of ${Math.round(limits.most_bytes / 1e6)} MB each)`;
  document.getElementById("calibration").textContent = limits.calibration;
  const target = document.getElementById("target"), files = document.getElementById("files");
  files.addEventListener("change", () => { sendAll([...files.files]); files.value = ""; });
  for (const kind of ["dragenter", "dragover"]) target.addEventListener(kind, () => target.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) target.addEventListener(kind, () => target.classList.remove("over"));
  target.addEventListener("drop", event => sendAll([...event.dataTransfer.files]));
  for (const kind of ["dragover", "drop"]) addEventListener(kind, event => event.preventDefault());  // no file opens in place of the page
}

function sendAll(files) {
  const answers = document.getElementById("answers"), most = drop.limits.most_files;
  for (const old of answers.querySelectorAll("img")) URL.revokeObjectURL(old.src);
  answers.replaceChildren();
  if (files.length > most) answers.append(make("p", `Of ${files.length} files the first ${most} are sent; python -m src.predict takes any number.`, "flag"));
  drop.waiting = files.slice(0, most).map(file => {
    const box = make("div", "", "answer");
    box.append(make("p", file.name, "small"), make("p", "waits …"));
    answers.append(box);
    return {file, box};
  });
  sendNext();
}

function sendNext() {
  while (drop.active < 4 && drop.waiting.length) {
    drop.active++;
    send(drop.waiting.shift()).finally(() => { drop.active--; sendNext(); });
  }
}

async function send({file, box}) {
  let record;
  if (file.size > drop.limits.most_bytes)
    record = {error: `has ${(file.size / 1e6).toFixed(1)} MB, more than ${Math.round(drop.limits.most_bytes / 1e6)}; shrink it`};
  else try {
    const answer = await fetch("/predict", {method: "POST", body: file, headers: {"Content-Type": "application/octet-stream"}});
    record = await answer.json();
  } catch (error) {
    record = {error: "was not answered; has python -m src.watch ended?"};
  }
  showAnswer(file, box, record);
}

function showAnswer(file, box, record) {
  const parts = [];
  if (!record.error) {
    const picture = make("img", "", "", {alt: ""});
    picture.src = URL.createObjectURL(file);
    parts.push(picture);
  }
  parts.push(make("p", file.name, "small"));
  if (record.error) parts.push(make("p", record.error, "flag"));
  else if (record.objects) parts.push(make("p", record.objects.filter(o => o.score >= 0.5).map(o => `${o.class} ${o.score.toFixed(2)}`).join(", ") || "nothing found"));
  else record.classes.forEach((name, i) => parts.push(make("p", `${name} ${(100 * record.probabilities[i]).toFixed(1)} %`, i ? "small" : "")));
  if (record.labels) parts.push(make("p", `labels: ${record.labels.join(", ") || "none"}`));
  box.replaceChildren(...parts);
}
