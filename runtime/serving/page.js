"use strict";

const LARGEST_SIDE = 1280; // pixels of a frame on its way to the server; masks come back in the same size
const IN_FLIGHT = 2; // frames the server has not answered: one computed, one waiting
const JPEG_QUALITY = 0.85;
const OPACITY = 0.45; // of a mask, as in overlay.mp4
const RATE_OVER_MS = 3000;
const TRY_AGAIN_LATER = 1013; // a WebSocket's close code; a page that was reloaded may come before it has left
const RETRY_MS = 1500;

const $ = (id) => document.getElementById(id);
const video = $("video");
const canvas = $("picture");
const drawing = canvas.getContext("2d");
const capture = document.createElement("canvas");

let socket = null;
let source = null; // the server's own, if it has one
let sentences = [];
let sent = 0; // frames sent in this session
let answered = 0; // of these, those the server has answered or passed over
let encoding = false;
let waiting = new Map(); // frame number -> its picture, until its masks come
let picture = null; // the server's own frame, which comes before its masks
let finished = []; // when frames were answered, for the rate
let passedOver = 0;

// The same colours as in overlay.mp4: steps of the golden ratio around the colour wheel.
function colourOf(number) {
  const hue = (0.55 + number * 0.61803398875) % 1;
  const channel = (offset) => {
    const k = (offset + hue * 6) % 6;
    return Math.round(255 * (1 - 0.85 * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}

function say(state) {
  $("state").textContent = state;
}

function complain(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function connect() {
  const address = new URL("v1/live" + location.search, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const opened = new WebSocket(address);
  opened.binaryType = "blob";
  let wasOpen = false;
  opened.onopen = () => {
    wasOpen = true;
    say(source ? source : "ready");
    if (sentences.length) {
      opened.send(JSON.stringify({ add: sentences }));
    }
  };
  // One message after the other: a picture must be decoded before its masks are drawn.
  let turn = Promise.resolve();
  opened.onmessage = (event) => {
    turn = turn.then(() => (opened === socket ? receive(event.data) : null)).catch((error) => complain(String(error)));
  };
  opened.onclose = (event) => {
    if (opened !== socket) {
      return;
    }
    socket = null;
    if (event.code === TRY_AGAIN_LATER) {
      say("waiting: " + event.reason);
      setTimeout(() => socket ?? connect(), RETRY_MS);
      return;
    }
    stopVideo();
    say(wasOpen ? "ended" + (event.reason ? ": " + event.reason : "") : "the server cannot be reached");
    $("again").hidden = false;
    $("stop").textContent = "Connect again";
  };
  socket = opened;
  sent = answered = passedOver = 0;
  waiting = new Map();
  finished = [];
}

async function receive(data) {
  if (typeof data !== "string") {
    picture = await createImageBitmap(data);
    return;
  }
  const message = JSON.parse(data);
  if ("error" in message) {
    complain(message.error);
  } else if ("index" in message) {
    await show(message);
  } else {
    sentences = message.sentences;
    complain("");
    list();
  }
}

async function show(message) {
  answered = message.index + 1;
  const masks = await Promise.all(message.sentences.map((each) => (each.mask ? decoded(each.mask) : null)));
  const frame = source ? picture : waiting.get(message.index);
  for (const [number, bitmap] of waiting) {
    if (number < message.index) {
      bitmap.close();
    }
    if (number <= message.index) {
      waiting.delete(number);
    }
  }
  if (frame) {
    canvas.width = frame.width;
    canvas.height = frame.height;
    drawing.drawImage(frame, 0, 0);
    frame.close();
    picture = null;
    masks.forEach((mask, number) => mask && drawing.drawImage(tinted(mask, colourOf(number)), 0, 0));
  }
  figures(message);
}

function decoded(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/png" }));
}

// A grey mask as a translucent area of one colour.
const tint = document.createElement("canvas");
function tinted(mask, [red, green, blue]) {
  tint.width = mask.width;
  tint.height = mask.height;
  const context = tint.getContext("2d", { willReadFrequently: true });
  context.drawImage(mask, 0, 0);
  mask.close();
  const pixels = context.getImageData(0, 0, tint.width, tint.height);
  const words = new Uint32Array(pixels.data.buffer);
  const colour = ((Math.round(255 * OPACITY) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  for (let index = 0; index < words.length; index += 1) {
    words[index] = words[index] & 0xff ? colour : 0;
  }
  context.putImageData(pixels, 0, 0);
  return tint;
}

function figures(message) {
  const now = performance.now();
  finished.push(now);
  while (now - finished[0] > RATE_OVER_MS) {
    finished.shift();
  }
  passedOver += message.passed_over;
  const seconds = (now - finished[0]) / 1000;
  $("rate").textContent = seconds > 0.5 ? ((finished.length - 1) / seconds).toFixed(1) : "–";
  $("latency").textContent = message.latency_ms.toFixed(0) + " ms";
  $("passed").textContent = String(passedOver);
  $("asked").textContent = message.asked ? "asked" : "not asked";
  $("timings").hidden = false;
  $("timings").tBodies[0].replaceChildren(
    ...Object.entries(message.timings_ms).map(([stage, spent]) => {
      const row = document.createElement("tr");
      row.append(cell(stage.replaceAll("_", " ")), cell(spent.toFixed(1)));
      return row;
    }),
  );
  message.sentences.forEach((each, number) => {
    const seen = $("sentences").children[number]?.querySelector(".seen");
    if (seen) {
      seen.textContent = each.area_px ? "predicted IoU " + (each.predicted_iou ?? 0).toFixed(2) : "not seen";
    }
  });
}

function cell(text) {
  const made = document.createElement("td");
  made.textContent = text;
  return made;
}

function list() {
  $("sentences").replaceChildren(
    ...sentences.map((sentence, number) => {
      const row = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.backgroundColor = `rgb(${colourOf(number).join(",")})`;
      const text = document.createElement("span");
      text.className = "text";
      text.textContent = sentence;
      const seen = document.createElement("span");
      seen.className = "seen";
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "×";
      remove.setAttribute("aria-label", "remove " + sentence);
      remove.onclick = () => tell({ remove: number });
      row.append(swatch, text, seen, remove);
      return row;
    }),
  );
}

// Without a connection the list is the page's own, and the next session begins with it.
function tell(command) {
  if (socket?.readyState === WebSocket.OPEN) {
    socket.send(JSON.stringify(command));
    return;
  }
  sentences = "add" in command ? [...sentences, ...command.add] : sentences.filter((_, number) => number !== command.remove);
  list();
}

// Sends the frame the video shows, if the server has room for it.
function offer() {
  const ready = socket?.readyState === WebSocket.OPEN && video.readyState >= 2 && !video.paused;
  if (ready && !encoding && sent - answered < IN_FLIGHT) {
    const scale = Math.min(1, LARGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
    capture.width = Math.round(video.videoWidth * scale);
    capture.height = Math.round(video.videoHeight * scale);
    capture.getContext("2d").drawImage(video, 0, 0, capture.width, capture.height);
    send(socket);
  }
  requestAnimationFrame(offer);
}

async function send(opened) {
  encoding = true;
  try {
    const bitmap = await createImageBitmap(capture);
    const blob = await new Promise((done) => capture.toBlob(done, "image/jpeg", JPEG_QUALITY));
    if (opened === socket && opened.readyState === WebSocket.OPEN) {
      waiting.set(sent, bitmap);
      sent += 1;
      opened.send(blob);
    }
  } catch (error) {
    complain(String(error));
  } finally {
    encoding = false;
  }
}

async function begin(load, name) {
  complain("");
  try {
    await load();
    await video.play();
  } catch (error) {
    complain(`${name} cannot be shown: ${error.message || error}`);
    return;
  }
  $("invitation").hidden = true;
  $("again").hidden = false;
  say(name);
}

function stopVideo() {
  video.pause();
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  if (video.src) {
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
  }
}

$("camera").onclick = () =>
  begin(async () => {
    if (!navigator.mediaDevices) {
      throw new Error("browsers show cameras to pages of localhost and HTTPS alone (see --certificate)");
    }
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  }, "camera");

$("file").onchange = (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) {
    begin(async () => {
      video.loop = true;
      video.src = URL.createObjectURL(file);
    }, file.name);
  }
};

$("stop").onclick = () => {
  stopVideo();
  const old = socket;
  socket = null;
  old?.close();
  $("again").hidden = true;
  $("invitation").hidden = Boolean(source);
  $("stop").textContent = "Choose another source";
  drawing.clearRect(0, 0, canvas.width, canvas.height);
  complain("");
  connect();
};

$("ask").onsubmit = (event) => {
  event.preventDefault();
  const text = $("sentence").value.trim();
  if (text) {
    tell({ add: [text] });
    $("sentence").value = "";
  }
};

// The server says what it shows before the first session begins.
async function start() {
  const response = await fetch("v1/health" + location.search);
  if (response.ok) {
    source = (await response.json()).source;
    $("invitation").hidden = Boolean(source);
    connect();
    requestAnimationFrame(offer);
  } else {
    say("refused");
    $("invitation").hidden = true;
    $("ask").hidden = true;
    complain(await response.text());
  }
}

start().catch((error) => complain(String(error)));
