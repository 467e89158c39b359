// The page asks this server every second and nobody else.
"use strict";

const byId = (id) => document.getElementById(id);
const cards = new Map();

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function command(camera, setting, value) {
  const path = `api/cameras/${camera}/${setting}`;
  const answer = await fetch(path, { method: "POST", headers: { "X-Pavad": "1" }, body: value });
  if (!answer.ok) throw new Error(await answer.text());
}

function card(camera) {
  const known = cards.get(camera.id);
  if (known) return known;
  const element = byId("camera").content.firstElementChild.cloneNode(true);
  element.dataset.camera = camera.id;
  element.querySelector("h2").textContent = camera.id;
  const slider = element.querySelector("input[type=range]");
  const made = { element, slider, held: 0, scores: [], loading: false };
  slider.addEventListener("input", () => {
    made.held = Date.now();
    effect(made);
  });
  slider.addEventListener("change", () => {
    made.held = Date.now();
    command(camera.id, "threshold", slider.value).catch(tell);
  });
  element.querySelector(".armed input").addEventListener("change", (event) => {
    command(camera.id, "armed", event.target.checked ? "ON" : "OFF").catch(tell);
  });
  byId("cameras").append(element);
  cards.set(camera.id, made);
  return made;
}

// How often the score would have risen above the slider's value in the hour shown.
function effect(made) {
  const threshold = Number(made.slider.value);
  made.element.querySelector("output").textContent = threshold.toFixed(2);
  let rises = 0;
  let above = false;
  for (const [, score] of made.scores) {
    if (score >= threshold && !above) rises += 1;
    above = score >= threshold;
  }
  const minutes = Math.round(made.scores.length / 60);
  made.element.querySelector(".effect").textContent =
    `At this threshold the score would have risen above it ${rises} times in the last ${minutes} minutes.`;
  draw(made, threshold);
}

function draw(made, threshold) {
  const canvas = made.element.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  const shown = made.scores.slice(-600);
  const y = (score) => height - 4 - score * (height - 8);
  pen.strokeStyle = "#d33";
  pen.setLineDash([6, 4]);
  pen.beginPath();
  pen.moveTo(0, y(threshold));
  pen.lineTo(width, y(threshold));
  pen.stroke();
  pen.setLineDash([]);
  pen.strokeStyle = "#38c";
  pen.lineWidth = 2;
  pen.beginPath();
  shown.forEach(([, score], i) => {
    const x = ((i + 1) / Math.max(shown.length, 60)) * width;
    if (i === 0) pen.moveTo(x, y(score));
    else pen.lineTo(x, y(score));
  });
  pen.stroke();
  made.element.dataset.points = shown.length;
  made.element.dataset.score = shown.length ? shown[shown.length - 1][1] : "";
}

function picture(made, camera) {
  if (made.loading || document.hidden) return;
  made.loading = true;
  const image = made.element.querySelector(".picture");
  image.onload = image.onerror = () => {
    made.loading = false;
  };
  image.alt = `What ${camera.id} sees`;
  image.src = `api/picture/${camera.id}?${Date.now()}`;
}

async function show(status) {
  byId("device").textContent = status.device;
  const broker = status.spool.depth
    ? `${status.spool.depth} events wait for the broker`
    : "no event waits for the broker";
  const clock = status.time_synced ? "" : ", the clock is not set";
  byId("health").textContent =
    `${status.state}, model ${status.model.name} ${status.model.version}, ${broker}${clock}`;
  byId("health").className = "";
  for (const camera of status.cameras) {
    const made = card(camera);
    made.element.classList.toggle("active", camera.active);
    const scene = camera.scene === "ok" ? "" : `, picture ${camera.scene}`;
    const lasting = camera.lasting ? ", score stays high: no incident can begin" : "";
    const why = camera.reason ? `: ${camera.reason}` : "";
    const rate = camera.measured_rate === null ? "" : `, ${camera.measured_rate.toFixed(1)} frames/s`;
    const state = made.element.querySelector(".state");
    state.textContent = `${camera.state}${why}${rate}${scene}${lasting}, ${camera.events_total} incidents`;
    state.classList.toggle("bad", camera.state !== "running" || scene !== "" || camera.lasting);
    made.element.querySelector(".armed input").checked = camera.armed;
    if (Date.now() - made.held > 3000) made.slider.value = camera.threshold;
    made.scores = await ask(`api/scores/${camera.id}`);
    effect(made);
    picture(made, camera);
  }
}

function showEvents(alerts) {
  const newest = new Map();
  for (const alert of alerts) newest.set(alert.id, alert);
  const list = [...newest.values()].reverse().slice(0, 20);
  byId("none").hidden = list.length > 0;
  const known = new Map([...byId("events").children].map((item) => [item.dataset.id, item]));
  const items = list.map((alert) => {
    const item = known.get(alert.id) ?? byId("event").content.firstElementChild.cloneNode(true);
    item.dataset.id = alert.id;
    item.querySelector("strong").textContent = `${alert.camera}: ${alert.kind}`;
    const when = alert.time_synced ? new Date(alert.started_ms).toLocaleString() : "time not known";
    const goes = alert.phase === "end" ? "" : ", goes on";
    item.querySelector("span").textContent =
      `${when}, ${(alert.duration_ms / 1000).toFixed(1)} s${goes}, peak ${alert.peak_score.toFixed(2)}`;
    const image = item.querySelector("img");
    const version = `${alert.peak_frame}`;
    if (alert.snapshot && image.dataset.version !== version) {
      image.dataset.version = version;
      image.src = `api/evidence/${alert.camera}/${alert.id}?${version}`;
      image.alt = `Peak of the incident at ${alert.camera}`;
    }
    return item;
  });
  byId("events").replaceChildren(...items);
}

function tell(error) {
  byId("health").textContent = error.message;
  byId("health").className = "bad";
}

async function round() {
  try {
    await show(await ask("api/status"));
    showEvents(await ask("api/events"));
  } catch (error) {
    tell(error);
  }
  setTimeout(round, 1000);
}

round();
