"use strict";
const UNCERTAIN = 0.75; // below this calibrated confidence about one answer in three is wrong
const MAX_IMAGES = 500, AT_ONCE = 8, CAMERA_WIDTH = 480, CAMERA_PAUSE = 300, MAX_LISTED = 6;
const [negative, positive] = [document.body.dataset.negative, document.body.dataset.positive];
const find = (id) => document.getElementById(id);
let entries = [], current = null, stream = null;

const percent = (value) => (value >= 0.995 ? ">99%" : value < 0.005 ? "<1%" : `${Math.round(100 * value)}%`);
const isUncertain = (answer) => answer.confidence === null || answer.confidence < UNCERTAIN;
const kind = (label) => (label === positive ? "positive" : label === negative ? "negative" : "");

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function say(text, failed = false) {
  find("status").textContent = text;
  find("status").className = failed ? "error" : "";
}

async function post(path, files, fields = {}) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name || "image");
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  const response = await fetch(path, { method: "POST", body: form });
  const body = await response.json().catch(() => ({ error: response.statusText }));
  if (response.status === 401) location.assign("login");
  if (!response.ok) throw new Error(body.error || `the service answered ${response.status}`);
  return body;
}

async function evaluate(given) {
  const files = [...given].filter((file) => file.size).slice(0, MAX_IMAGES);
  if (!files.length) return;
  stopCamera();
  entries = [];
  find("gallery").replaceChildren();
  find("detail").hidden = true;
  try {
    for (let start = 0; start < files.length; start += AT_ONCE) {
      say(files.length > 1 ? `Evaluating ${start + 1} of ${files.length} ...` : "Evaluating ...");
      const batch = files.slice(start, start + AT_ONCE);
      const { answers } = await post("v1/predict", batch);
      entries.push(...answers.map((answer, index) => ({ answer, file: batch[index] })));
    }
  } catch (error) {
    say(error.message, true);
    return;
  }
  const unreadable = entries.filter(({ answer }) => answer.p === null || answer.verdict === "unreadable");
  const sound = entries.filter((entry) => !unreadable.includes(entry));
  entries = sound.sort((one, other) => (one.answer.confidence ?? 0) - (other.answer.confidence ?? 0));
  const notes = unreadable.map(({ answer }) => `${answer.path}: ${answer.verdict}: ${answer.detail}.`);
  const doubtful = entries.filter(({ answer }) => isUncertain(answer)).length;
  if (entries.length > 1) notes.unshift(`${entries.length} images, the least certain first.${doubtful ? ` Look at those marked with ?: ${doubtful}.` : ""}`);
  if (given.length > MAX_IMAGES) notes.push(`Left out: ${given.length - MAX_IMAGES}; ${MAX_IMAGES} at once.`);
  say(notes.join(" "), !entries.length);
  if (entries.length > 1) showGallery();
  if (entries.length) await show(entries[0]);
}

function showGallery() {
  for (const entry of entries) {
    const { answer, file } = entry;
    const text = `${isUncertain(answer) ? "? " : ""}${answer.label ?? answer.verdict} ${answer.confidence === null ? "" : percent(answer.confidence)}`;
    const image = element("img", "", { alt: "", src: URL.createObjectURL(file) });
    image.onload = () => URL.revokeObjectURL(image.src);
    entry.button = element("button", "", { type: "button", "aria-label": `${file.name}: ${text}` });
    entry.button.append(image, text);
    entry.button.onclick = () => show(entry);
    const item = element("li");
    item.append(entry.button);
    find("gallery").append(item);
  }
}

async function show(entry) {
  current = entry;
  for (const { button } of entries) button?.setAttribute("aria-current", String(button === entry.button));
  find("kept").textContent = "";
  showAnswer(entry.answer, entry.file.name);
  find("detail").hidden = false;
  for (const id of ["upright", "evidence"]) find(id).removeAttribute("src");
  drawBoxes(find("detail"), []);
  try {
    entry.found ??= await post("v1/inspect?evidence=true", [entry.file]);
  } catch (error) {
    say(error.message, true);
    return;
  }
  if (current !== entry) return;
  const { faces, image, evidence } = entry.found;
  find("upright").src = image;
  find("evidence").src = evidence;
  find("faces").textContent = faces.length > MAX_LISTED ? `${faces.length} faces` : faces.map((face) => `${face.label ?? face.verdict} ${face.confidence === null ? "" : percent(face.confidence)}`).join(", ");
  drawBoxes(find("detail"), faces);
}

function showAnswer(answer, name) {
  const probability = answer[`p_${positive}`];
  const panel = find("answer");
  panel.replaceChildren(element("p", name, { class: "name" }));
  const line = element("p");
  line.append(element("strong", answer.label ?? answer.verdict, { class: kind(answer.label) }));
  if (answer.confidence !== null) line.append(` ${percent(answer.confidence)} likely`);
  const bar = element("div", "", { class: "bar" });
  for (const [label, part] of [[negative, 1 - probability], [positive, probability]]) {
    const share = element("span", `${label} ${percent(part)}`);
    share.style.flexBasis = `${100 * part}%`;
    bar.append(share);
  }
  const both = "scene" in document.body.dataset && /^\d/.test(answer.evidence) ? ", and the whole image" : "";
  panel.append(line, bar, element("p", `Based on: ${answer.evidence}${both}.`));
  if (answer.confidence === null) panel.append(element("p", "Neither is likely enough for an answer: look yourself."));
  else if (answer.confidence < 0.5) panel.append(element("p", `The other is likelier, but the model answers ${positive} only from its threshold on, which validation chose.`));
  else if (isUncertain(answer)) panel.append(element("p", "Less certain than most of its answers: look yourself."));
}

function drawBoxes(section, faces) {
  const boxes = section.querySelector(".boxes");
  boxes.setAttribute("viewBox", "0 0 1 1");
  boxes.setAttribute("preserveAspectRatio", "none");
  boxes.replaceChildren(...faces.map((face) => {
    const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const place = { x: face.left, y: face.top, width: face.width, height: face.height, class: kind(face.label) };
    for (const [name, value] of Object.entries(place)) box.setAttribute(name, value);
    return box;
  }));
}

async function correct(label) {
  try {
    const kept = await post("v1/corrections", [current.file], { label });
    find("kept").textContent = `Kept as ${kept.label}${kept.earlier ? ` (${kept.earlier})` : ""}. Corrected so far: ${kept.count}.`;
  } catch (error) {
    find("kept").textContent = error.message;
  }
}

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch {
    say("No camera can be used: allow it, and open the page at localhost or over HTTPS.", true);
    return;
  }
  find("camera").setAttribute("aria-pressed", "true");
  find("camera").textContent = "Stop the camera";
  find("live").hidden = false;
  find("detail").hidden = true;
  say("");
  const video = find("video"), canvas = document.createElement("canvas");
  video.srcObject = stream;
  await video.play();
  while (stream) {
    canvas.width = CAMERA_WIDTH;
    canvas.height = Math.round((CAMERA_WIDTH * video.videoHeight) / video.videoWidth);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const frame = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
    try {
      const { answer, faces } = await post("v1/inspect", [new File([frame], "camera.jpg")]);
      if (!stream) break;
      drawBoxes(find("live"), faces);
      const label = element("strong", answer.label ?? answer.verdict, { class: kind(answer.label) });
      const likely = answer.confidence === null ? "" : ` ${percent(answer.confidence)}`;
      find("live-answer").replaceChildren(label, `${likely} · ${answer.evidence || answer.detail}`);
    } catch (error) {
      say(error.message, true);
    }
    await new Promise((done) => setTimeout(done, CAMERA_PAUSE));
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  find("live").hidden = true;
  find("camera").setAttribute("aria-pressed", "false");
  find("camera").textContent = "Use the camera";
}

find("files").onchange = (event) => evaluate(event.target.files);
find("camera").onclick = () => (stream ? stopCamera() : startCamera());
for (const button of find("correct").querySelectorAll("button")) button.onclick = () => correct(button.value);
document.addEventListener("paste", (event) => evaluate(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); find("drop").className = "over"; });
document.addEventListener("dragleave", () => { find("drop").className = ""; });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").className = "";
  evaluate(event.dataTransfer.files);
});
