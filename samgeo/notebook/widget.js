// The map in the browser: it draws, listens and asks; all that is known is in the kernel. See conversation.py.
//
// Positions are columns and rows of the working grid, (0, 0) the upper left corner of the first pixel. A `Link` is one
// for each widget, with what the kernel told and a store of tiles; a `View` is one for each place where it is shown.

const MOST_TILES = 256; // kept
const MOST_ASKED = 4; // under way at once: what is not asked for yet is dropped when the view moves
const DRAG_PX = 6; // so far the mouse moves before a click is a box
const HOVER_MS = 100; // at most so often is asked what lies under the mouse
const REST_MS = 400; // where the mouse rests so long, the window is encoded ahead
const GREETING_MS = 8000; // so long the kernel may take to tell of the raster
const SILENCE_MS = 20000; // and so long to say anything when it was asked: a large model takes seconds
const LOW_SCORE = 0.5;
const CANDIDATE = "#ff8c00", HOVER = "#5aaaff", ON = "#12a150", BESIDE = "#e02424";
const COLOURS = ["#ffd60a", "#22c8ff", "#ff5c5c", "#7dff7d", "#ff8be6", "#b69bff", "#ffa03c", "#3ce0b4", "#d3e34f"];
const UNNAMED = "#e8edf2";

const ICONS = {
  click: "M6 3l7 5-3.2.7L8.5 12z M3 2v2 M1.5 5.5h2",
  box: "M2.5 3.5h11v9h-11z",
  pan: "M8 1.5v13 M1.5 8h13 M6 3.5l2-2 2 2 M6 12.5l2 2 2-2 M3.5 6l-2 2 2 2 M12.5 6l2 2-2 2",
  undo: "M3 6h6.5a3.5 3.5 0 010 7H6 M5.5 3L2.5 6l3 3",
  redo: "M13 6H6.5a3.5 3.5 0 000 7H10 M10.5 3l3 3-3 3",
  clear: "M4 4l8 8 M12 4l-8 8",
  remove: "M3 4.5h10 M6 4.5V3h4v1.5 M4.5 4.5l.6 8.5h5.8l.6-8.5",
  plus: "M8 3v10 M3 8h10",
  minus: "M3 8h10",
  fit: "M2.5 6v-3.5h3.5 M10 2.5h3.5v3.5 M13.5 10v3.5h-3.5 M6 13.5h-3.5v-3.5",
};

const KEYS = [
  ["Left click", "on the object"],
  ["Right click", "beside it"],
  ["Drag", "a box around it"],
  ["Hover", "what a click would show, in blue"],
  ["Enter", "accept"],
  ["Tab", "the next of the masks that the clicks may mean"],
  ["Backspace, Ctrl+Z", "take the last click or removal back"],
  ["Ctrl+Shift+Z", "do it again"],
  ["Esc", "begin again"],
  ["1 to 9", "choose a label"],
  ["Delete", "remove the object that was accepted last"],
  ["Wheel, +, -, 0", "zoom in, out, show all"],
  ["Space or middle button, and drag; arrows", "move the map"],
];

function element(tag, className, parent, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// Outlines ---------------------------------------------------------------------------------------------------------

// A DataView may begin anywhere in its buffer, and an array of doubles may not: copy.
function doubles(view) {
  return new Float64Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// One Path2D for each geometry, from the counts of corners of its rings and the corners of all of them.
function paths(geometries, view) {
  const corners = view ? doubles(view) : new Float64Array(0);
  let at = 0;
  return geometries.map((polygons) => {
    const path = new Path2D();
    for (const rings of polygons) {
      for (const count of rings) {
        for (let i = 0; i < count; i++, at += 2) {
          if (i === 0) path.moveTo(corners[at], corners[at + 1]);
          else path.lineTo(corners[at], corners[at + 1]);
        }
        path.closePath();
      }
    }
    return path;
  });
}

// The kernel ---------------------------------------------------------------------------------------------------------

class Link {
  constructor(model) {
    this.model = model;
    this.scene = null;
    this.state = { points: [], box: null, candidates: [], chosen: null, undo: false, redo: false };
    this.shapes = [];
    this.features = [];
    this.labels = [];
    this.label = "";
    this.text = "Waiting for the kernel ...";
    this.wrong = false;
    this.waiting = new Map(); // what was asked for and changes something: n -> the message
    this.tiles = new Map(); // key -> {bitmap} or {error}; the one used last comes last
    this.asked = new Set();
    this.views = new Set();
    this.me = Math.random().toString(36).slice(2, 8);
    this.count = 0;
    this.hover = { n: null, path: null, place: null, ahead: null, last: 0, timer: 0, rest: 0 };
    this.times = {}; // of tests: how long the last answers took, in ms
    this.sent = {}; // and how much was asked for
    this.silent = false; // the kernel: until it says something, only what the user does is sent
    this.listen = (message, buffers) => this.hear(message, buffers);
    this.broken = () => this.startOver("The connection to the kernel broke. If nothing comes, run the cell again.");
    model.on("msg:custom", this.listen);
    model.on("comm_live_update", this.broken);
    this.greet();
  }

  close() {
    clearTimeout(this.silence);
    clearTimeout(this.hover.timer);
    clearTimeout(this.hover.rest);
    this.model.off("msg:custom", this.listen);
    this.model.off("comm_live_update", this.broken);
  }

  get busy() {
    return this.waiting.size > 0;
  }

  get pending() {
    return !this.greeted || this.busy || this.asked.size > 0 || Boolean(this.fetching) || Boolean(this.hover.n);
  }

  greet() {
    this.greeted = false;
    this.send("hello");
  }

  send(op, more = {}) {
    this.sent[op] = (this.sent[op] || 0) + 1;
    try {
      this.model.send({ op, ...more });
    } catch {
      // The connection is closed: no answer will come, which is told below.
    }
    if (!this.silence) this.expect();
  }

  // Something is to come, or the kernel is at work elsewhere, interrupted, or gone.
  expect() {
    clearTimeout(this.silence);
    const text = this.scene ? "No answer from the kernel: it is at work, or gone. If nothing comes, run the cell again." : "No answer from the kernel. Run the cell again.";
    this.silence = this.pending ? setTimeout(() => this.startOver(text), this.scene ? SILENCE_MS : GREETING_MS) : 0;
  }

  // Wait for nothing any more, and ask once how things are; answers that come late are heard all the same.
  startOver(text) {
    clearTimeout(this.silence);
    this.silence = 0;
    this.waiting.clear();
    this.asked.clear();
    this.fetching = null;
    this.stopHovering();
    this.say(text, true);
    if (this.silent) return;
    this.silent = true;
    this.greet();
  }

  number() {
    return `${this.me}-${++this.count}`;
  }

  // Ask for what changes something; answers come in the order of the questions.
  ask(op, more = {}) {
    const n = this.number();
    this.waiting.set(n, { op, ...more, since: performance.now() });
    this.last = op;
    this.stopHovering();
    this.say("", false);
    this.send(op, { n, ...more });
    this.changed();
  }

  say(text, wrong) {
    this.text = text;
    this.wrong = wrong;
    this.changed();
  }

  changed() {
    for (const view of this.views) view.changed();
  }

  hear(message, buffers) {
    if (this.silent) this.say("", false);
    this.silent = false;
    const act = this[`on_${message.type}`];
    if (act) act.call(this, message, buffers || []);
    this.expect();
  }

  // Also heard when another browser has said hello: view, label and text stay.
  on_scene(message) {
    const first = !this.scene;
    this.greeted = true;
    this.scene = message;
    this.labels = message.labels;
    if (!first) return this.changed();
    if (this.labels.length) this.label = this.labels[0];
    this.say("", false);
    for (const view of this.views) view.begin();
  }

  on_view(message) {
    if (this.scene) this.scene.view = message;
    for (const view of this.views) view.show(message.cols, message.rows);
  }

  on_state(message, buffers) {
    const asked = this.waiting.get(message.n);
    if (asked) this.times[asked.op] = performance.now() - asked.since;
    this.waiting.delete(message.n);
    if (message.n && message.n === this.hover.n) this.hover.n = null;
    this.state = message;
    this.shapes = paths(message.candidates.map((one) => one.rings), buffers[0]);
    if (message.error) this.say(message.error, true);
    else if (message.warning) this.say(message.warning, true);
    if (asked && asked.op === "accept" && !message.error) this.say(`Accepted: ${this.features.length} in all.`, false);
    if (asked && asked.op === "remove" && !message.error) this.say("Removed. Ctrl+Z brings it back.", false);
    this.changed();
  }

  on_features(message, buffers) {
    const found = paths(message.items.map((one) => one.rings), buffers[0]);
    this.features.length = Math.min(this.features.length, message.first);
    message.items.forEach((item, i) => this.features.push({ ...item, path: found[i] }));
    this.labels = message.labels;
    this.changed();
  }

  colour(label) {
    const at = this.labels.indexOf(label);
    return at < 0 ? UNNAMED : COLOURS[at % COLOURS.length];
  }

  // Tiles

  wantTiles(keys) {
    if (this.silent) return;
    for (const key of keys) {
      if (this.asked.size >= MOST_ASKED) return;
      if (this.tiles.has(key) || this.asked.has(key)) continue;
      this.asked.add(key);
      const [z, x, y] = key.split("/").map(Number);
      this.send("tile", { z, x, y });
    }
  }

  async on_tile(message, buffers) {
    const key = `${message.z}/${message.x}/${message.y}`;
    this.asked.delete(key);
    if (message.error && !message.again) {
      this.keep(key, { error: message.error });
      this.say(message.error, true);
    } else if (!message.error) {
      try {
        this.keep(key, { bitmap: await createImageBitmap(new Blob([buffers[0]], { type: message.mime })) });
      } catch (error) {
        this.keep(key, { error: String(error) });
      }
    }
    this.changed();
  }

  keep(key, tile) {
    this.tiles.set(key, tile);
    for (const [old, gone] of this.tiles) {
      if (this.tiles.size <= MOST_TILES) return;
      this.tiles.delete(old);
      if (gone.bitmap) gone.bitmap.close();
    }
  }

  use(key) {
    const tile = this.tiles.get(key);
    if (tile) {
      this.tiles.delete(key);
      this.tiles.set(key, tile);
    }
    return tile;
  }

  // What a click would show: one question under way, the newest place wins

  hoverAt(place) {
    const hover = this.hover;
    hover.place = place;
    clearTimeout(hover.rest);
    if (hover.n || hover.timer || this.busy || this.silent) return;
    const wait = Math.max(0, HOVER_MS - (performance.now() - hover.last));
    hover.timer = setTimeout(() => this.askHover(), wait);
  }

  askHover() {
    const hover = this.hover;
    hover.timer = 0;
    if (!hover.place || hover.n || this.busy || this.silent) return;
    hover.last = performance.now();
    hover.asked = hover.place;
    hover.n = this.number();
    this.send("hover", { n: hover.n, ...hover.asked });
  }

  on_hover(message, buffers) {
    const hover = this.hover;
    if (message.n !== hover.n) return;
    hover.n = null;
    this.times.hover = performance.now() - hover.last;
    const stays = hover.place && !this.busy;
    hover.path = stays && message.rings.length ? paths(message.rings, buffers[0])[0] : null;
    if (stays && hover.place !== hover.asked) this.hoverAt(hover.place);
    else if (stays && !message.ready && hover.ahead !== hover.place) this.rest(hover.place);
    this.changed();
  }

  // A click where the mouse rests would have to wait: encode ahead, once for each place, when nothing else is to do.
  rest(place) {
    clearTimeout(this.hover.rest);
    this.hover.rest = setTimeout(() => {
      if (this.prefetch(place)) this.hover.ahead = place;
      else this.rest(place);
    }, REST_MS);
  }

  prefetch(place) {
    if (this.busy || this.hover.n || this.fetching || this.asked.size || this.silent) return false;
    this.fetching = this.number();
    this.send("prefetch", { n: this.fetching, ...place });
    this.changed();
    return true;
  }

  on_fetched(message) {
    if (message.n !== this.fetching) return;
    this.fetching = null;
    if (this.hover.place === this.hover.ahead) this.askHover();
    this.changed();
  }

  stopHovering() {
    clearTimeout(this.hover.timer);
    clearTimeout(this.hover.rest);
    Object.assign(this.hover, { n: null, path: null, place: null, timer: 0 });
    this.changed();
  }

  // What the user does

  nextCandidate() {
    const { candidates, chosen } = this.state;
    if (candidates.length > 1) this.ask("choose", { index: (chosen + 1) % candidates.length });
  }

  accept() {
    if (this.last === "accept" && (this.busy || !this.state.candidates.length)) return; // Enter twice is as good as once
    if (!this.state.candidates.length && !this.busy) this.say("Nothing to accept yet: click on an object first.", true);
    else this.ask("accept", { label: this.label });
  }

  undo() {
    this.ask("undo");
  }

  remove() {
    if (this.features.length) this.ask("remove");
  }
}

// The page -------------------------------------------------------------------------------------------------------------

class View {
  constructor(link, place) {
    this.link = link;
    this.tool = "click";
    this.center = null;
    this.scale = 1; // CSS pixels to a pixel of the working grid
    this.drag = null;
    this.space = false;
    this.mouse = null;
    this.build(place);
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.stage);
    link.views.add(this);
    this.begin();
  }

  close() {
    this.link.views.delete(this);
    this.observer.disconnect();
    window.removeEventListener("keydown", this.guard, true);
    this.root.remove();
  }

  build(place) {
    const root = element("div", "samgeo", place);
    root.dataset.jpSuppressContextMenu = ""; // else the right click opens the menu of JupyterLab
    this.root = root;
    this.bar = element("div", "samgeo-bar", root);
    this.buildBar();
    this.stage = element("div", "samgeo-stage", root);
    this.stage.style.height = this.link.model.get("height");
    this.canvas = element("canvas", "", this.stage);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Map: click on an object, Enter accepts, question mark lists the keys");
    const zoom = element("div", "samgeo-zoom", this.stage);
    this.button(zoom, "plus", "Zoom in (+)", () => this.zoom(2));
    this.button(zoom, "minus", "Zoom out (-)", () => this.zoom(0.5));
    this.button(zoom, "fit", "Show all (0)", () => this.fit());
    this.button(zoom, null, "Keys (?)", () => this.toggleHelp(), "?");
    // Over the map, so that the map stays where it is when masks come and go.
    this.masks = element("div", "samgeo-group samgeo-joined samgeo-masks", this.stage);
    this.scalebar = element("div", "samgeo-scale", this.stage);
    this.buildHelp();
    const status = element("div", "samgeo-status", root);
    this.text = element("span", "samgeo-text", status);
    this.text.setAttribute("role", "status");
    this.spinner = element("span", "samgeo-busy", status);
    this.placeText = element("span", "samgeo-place", status);
    this.countText = element("span", "samgeo-count", status);
    this.removeButton = this.button(status, "remove", "Remove the object that was accepted last (Delete)", () => this.link.remove());
    for (const part of [this.bar, zoom, this.masks, status]) {
      for (const name of ["pointerdown", "click", "dblclick", "wheel", "contextmenu"]) {
        part.addEventListener(name, (event) => event.stopPropagation());
      }
    }
    this.listen();
  }

  button(parent, name, title, act, caption) {
    const made = element("button", "", parent);
    made.type = "button";
    if (name) made.append(icon(name));
    if (caption) element("span", "", made, caption);
    made.title = title;
    made.setAttribute("aria-label", title);
    made.dataset.act = name || caption;
    made.addEventListener("click", () => {
      act();
      this.canvas.focus({ preventScroll: true });
    });
    return made;
  }

  buildBar() {
    const { bar, link } = this;
    const tools = element("div", "samgeo-group samgeo-joined", bar);
    this.tools = {
      click: this.button(tools, "click", "Click: left on the object, right beside it, drag a box", () => this.use("click"), "Click"),
      box: this.button(tools, "box", "Box: drag a box around the object", () => this.use("box"), "Box"),
      pan: this.button(tools, "pan", "Pan: drag the map (or hold Space)", () => this.use("pan"), "Pan"),
    };
    const history = element("div", "samgeo-group", bar);
    this.undoButton = this.button(history, "undo", "Take the last click or removal back (Ctrl+Z)", () => link.undo());
    this.redoButton = this.button(history, "redo", "Do it again (Ctrl+Shift+Z)", () => link.ask("redo"));
    this.clearButton = this.button(history, "clear", "Begin again (Esc)", () => link.ask("clear"));
    element("div", "samgeo-space", bar);
    this.chips = element("div", "samgeo-group samgeo-joined", bar);
    this.input = element("input", "", bar);
    this.input.placeholder = "other label";
    this.input.setAttribute("aria-label", "Label of the next objects");
    this.input.addEventListener("input", () => {
      link.label = this.input.value;
      link.changed();
    });
    this.acceptButton = this.button(bar, null, "Make it a feature (Enter)", () => link.accept(), "Accept");
    this.acceptButton.classList.add("samgeo-main");
  }

  buildHelp() {
    this.help = element("div", "samgeo-help", this.stage);
    this.help.hidden = true;
    const list = element("dl", "", element("div", "", this.help));
    for (const [key, meaning] of KEYS) {
      element("dt", "", list, key);
      element("dd", "", list, meaning);
    }
    this.help.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      this.toggleHelp();
    });
  }

  toggleHelp() {
    this.help.hidden = !this.help.hidden;
  }

  use(tool) {
    this.tool = tool;
    this.link.stopHovering();
    this.changed();
  }

  // Where things are

  begin() {
    const { scene } = this.link;
    if (!scene) return this.changed();
    this.resized();
    if (scene.view) this.show(scene.view.cols, scene.view.rows);
    else if (!this.center) this.fit();
    this.changed();
  }

  resized() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const first = !this.width;
    this.width = width;
    this.height = height;
    this.ratio = ratio;
    if (first && this.link.scene) this.begin();
    this.changed();
  }

  fit() {
    const { scene } = this.link;
    if (scene) this.show([0, scene.width], [0, scene.height]);
  }

  show(cols, rows) {
    if (!this.width) return;
    this.center = [(cols[0] + cols[1]) / 2, (rows[0] + rows[1]) / 2];
    const wide = Math.max(cols[1] - cols[0], 1e-6), high = Math.max(rows[1] - rows[0], 1e-6);
    this.scale = this.limited(0.98 * Math.min(this.width / wide, this.height / high));
    this.changed();
  }

  limited(scale) {
    const { scene } = this.link;
    const least = 0.25 * Math.min(this.width / scene.width, this.height / scene.height);
    return Math.min(Math.max(scale, Math.min(least, 1)), 64);
  }

  zoom(factor, about = [this.width / 2, this.height / 2]) {
    if (!this.center) return;
    const place = this.toPixel(about);
    this.scale = this.limited(this.scale * factor);
    this.center = [
      place[0] - (about[0] - this.width / 2) / this.scale,
      place[1] - (about[1] - this.height / 2) / this.scale,
    ];
    this.changed();
  }

  move(right, down) {
    if (!this.center) return;
    const { scene } = this.link;
    this.center = [
      Math.min(Math.max(this.center[0] - right / this.scale, 0), scene.width),
      Math.min(Math.max(this.center[1] - down / this.scale, 0), scene.height),
    ];
    this.changed();
  }

  toPixel([x, y]) {
    return [this.center[0] + (x - this.width / 2) / this.scale, this.center[1] + (y - this.height / 2) / this.scale];
  }

  toScreen([col, row]) {
    return [(col - this.center[0]) * this.scale + this.width / 2, (row - this.center[1]) * this.scale + this.height / 2];
  }

  position(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  onRaster([col, row]) {
    const { scene } = this.link;
    return col >= 0 && row >= 0 && col < scene.width && row < scene.height;
  }

  // Mouse and keys

  listen() {
    const { canvas, root } = this;
    canvas.addEventListener("pointerdown", (event) => this.pressed(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    canvas.addEventListener("pointerup", (event) => this.released(event));
    canvas.addEventListener("pointercancel", () => this.letGo());
    canvas.addEventListener("pointerleave", () => {
      this.mouse = null;
      this.link.stopHovering();
    });
    for (const name of ["mousedown", "mouseup", "click", "dblclick", "auxclick"]) {
      canvas.addEventListener(name, (event) => event.stopPropagation());
    }
    for (const target of [canvas, root]) {
      target.addEventListener("contextmenu", (event) => {
        event.preventDefault();
        event.stopPropagation();
      });
    }
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        event.stopPropagation();
        const lines = event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 400 : 1;
        this.zoom(Math.exp(-0.0022 * Math.max(-400, Math.min(400, event.deltaY * lines))), this.position(event));
      },
      { passive: false },
    );
    // In the notebook Enter, Z, the digits and others are commands, and JupyterLab hears keys before the map does.
    this.guard = (event) => {
      if (root.contains(event.target)) root.toggleAttribute("data-lm-suppress-shortcuts", !this.isTheirs(event));
    };
    window.addEventListener("keydown", this.guard, true);
    root.addEventListener("keydown", (event) => this.keyDown(event));
    root.addEventListener("keyup", (event) => {
      if (event.key === " ") this.space = false;
      this.changed();
    });
    root.addEventListener("focusout", () => (this.space = false));
  }

  pressed(event) {
    event.stopPropagation();
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    if (!this.center) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.position(event);
    const pan = event.button === 1 || (event.button === 0 && (this.space || this.tool === "pan"));
    if (pan) this.drag = { kind: "pan", at };
    else if (event.button === 2 || (event.button === 0 && event.ctrlKey)) this.click(this.toPixel(at), false);
    else if (event.button === 0) this.drag = { kind: this.tool === "box" ? "box" : "click", from: this.toPixel(at), to: at };
    this.link.stopHovering();
    this.changed();
  }

  moved(event) {
    const at = this.position(event);
    this.mouse = at;
    if (!this.drag) {
      const place = this.center && this.toPixel(at);
      if (place && this.tool !== "pan" && !this.space && this.onRaster(place)) {
        this.link.hoverAt({ col: place[0], row: place[1], positive: true });
      } else this.link.stopHovering();
    } else if (this.drag.kind === "pan") {
      this.move(at[0] - this.drag.at[0], at[1] - this.drag.at[1]);
      this.drag.at = at;
    } else {
      this.drag.to = at;
    }
    this.changed();
  }

  released(event) {
    event.stopPropagation();
    const { drag } = this;
    this.drag = null;
    if (!drag || drag.kind === "pan") return this.changed();
    if (this.far(drag)) this.box(drag.from, this.toPixel(drag.to));
    else if (drag.kind === "click") this.click(drag.from, true);
    this.changed();
  }

  letGo() {
    this.drag = null;
    this.changed();
  }

  // The place where a drag began stays where it is on the raster when the wheel zooms meanwhile.
  far({ from, to }) {
    const at = this.toScreen(from);
    return Math.max(Math.abs(at[0] - to[0]), Math.abs(at[1] - to[1])) >= DRAG_PX;
  }

  click([col, row], positive) {
    this.link.ask("click", { col, row, positive });
  }

  box(a, b) {
    const [left, right] = [a[0], b[0]].sort((x, y) => x - y);
    const [top, bottom] = [a[1], b[1]].sort((x, y) => x - y);
    this.link.ask("box", { left, top, right, bottom });
  }

  // What stays a command of JupyterLab and the browser over the map: to save, to run the cell, and the like.
  isTheirs(event) {
    if (event.key === "Enter") return event.shiftKey || event.ctrlKey || event.metaKey || event.altKey;
    return event.altKey || ((event.ctrlKey || event.metaKey) && !/^[zy]$/i.test(event.key));
  }

  keyDown(event) {
    if (this.isTheirs(event)) return;
    event.stopPropagation();
    if (event.target === this.input) {
      if (event.key === "Enter" || event.key === "Escape") this.canvas.focus({ preventScroll: true });
      return;
    }
    if (event.repeat && ["Delete", "Enter", "Escape"].includes(event.key)) return event.preventDefault();
    const { link } = this;
    const command = event.ctrlKey || event.metaKey;
    const label = /^[1-9]$/.test(event.key) ? link.labels[Number(event.key) - 1] : undefined;
    const onButton = event.target.tagName === "BUTTON";
    const acts = {
      Enter: () => link.accept(),
      Backspace: () => link.undo(),
      Delete: () => link.remove(),
      Escape: () => (this.help.hidden ? link.ask("clear") : this.toggleHelp()),
      "+": () => this.zoom(2),
      "=": () => this.zoom(2),
      "-": () => this.zoom(0.5),
      0: () => this.fit(),
      "?": () => this.toggleHelp(),
      ArrowLeft: () => this.move(80, 0),
      ArrowRight: () => this.move(-80, 0),
      ArrowUp: () => this.move(0, 80),
      ArrowDown: () => this.move(0, -80),
    };
    let act = command || (onButton && event.key === "Enter") ? null : acts[event.key];
    if (command && event.key.toLowerCase() === "z") act = event.shiftKey ? () => link.ask("redo") : () => link.undo();
    else if (command && event.key.toLowerCase() === "y") act = () => link.ask("redo");
    else if (label !== undefined) act = () => this.choose(label);
    else if (event.key === "Tab" && !onButton && !event.shiftKey && link.state.candidates.length > 1) act = () => link.nextCandidate();
    else if (event.key === " " && !onButton) act = () => this.holdSpace();
    if (!act) return;
    event.preventDefault();
    act();
    this.changed();
  }

  holdSpace() {
    this.space = true;
    this.link.stopHovering();
  }

  choose(label) {
    this.link.label = label;
    this.input.value = "";
    this.link.changed();
  }

  // Drawing

  changed() {
    this.root.dataset.busy = String(this.link.busy);
    if (this.planned) return;
    this.planned = requestAnimationFrame(() => {
      this.planned = 0;
      this.drawBar();
      if (this.link.scene && this.center && this.width) this.draw();
    });
  }

  drawBar() {
    const { link } = this;
    const { state, scene } = link;
    for (const [name, made] of Object.entries(this.tools)) made.setAttribute("aria-pressed", String(name === this.tool));
    this.drawMasks();
    this.drawChips();
    this.acceptButton.disabled = !state.candidates.length;
    this.removeButton.disabled = !link.features.length;
    this.clearButton.disabled = !state.points.length && !state.box;
    this.undoButton.disabled = !state.undo;
    this.redoButton.disabled = !state.redo;
    this.spinner.classList.toggle("samgeo-on", link.busy || Boolean(link.fetching) || !scene);
    this.text.classList.toggle("samgeo-wrong", link.wrong);
    this.text.textContent = link.text || this.advice();
    this.countText.textContent = link.features.length === 1 ? "1 object" : `${link.features.length} objects`;
    this.placeText.textContent = this.mouse && scene && this.center ? this.inMap(this.toPixel(this.mouse)) : "";
    const panning = this.tool === "pan" || this.space;
    this.canvas.classList.toggle("samgeo-pan", panning);
    this.canvas.classList.toggle("samgeo-panning", Boolean(this.drag) && this.drag.kind === "pan");
    const { dataset } = this.root; // for tests, and for whoever looks at the page
    Object.assign(dataset, {
      candidates: state.candidates.length,
      points: state.points.length,
      box: String(Boolean(state.box)),
      corners: JSON.stringify(state.box),
      chosen: String(state.chosen),
      features: link.features.length,
      tiles: [...link.tiles.values()].filter((tile) => tile.bitmap).length,
      asked: link.asked.size,
      hover: String(Boolean(link.hover.path)),
      times: JSON.stringify(link.times),
      sent: JSON.stringify(link.sent),
      view: JSON.stringify({ center: this.center, scale: this.scale }),
    });
  }

  advice() {
    const { link } = this;
    const best = link.state.candidates[link.state.chosen];
    if (link.busy) return "At work ...";
    if (!best && link.state.points.length) return "Nothing was found there.";
    if (!best) return "Click on an object, or drag a box around it. Press ? for all keys.";
    if (best.score < LOW_SCORE) return "The model is not sure: add a click on the object, or right click beside it.";
    return best.label ? `${best.label} (${best.label_score.toFixed(2)}). Enter accepts.` : "Enter accepts; right click takes away.";
  }

  inMap([col, row]) {
    const [a, b, c, d, e, f] = this.link.scene.transform;
    const digits = Math.max(0, Math.min(7, 1 - Math.floor(Math.log10(Math.abs(a) + Math.abs(b)))));
    const [x, y] = [a * col + b * row + c, d * col + e * row + f].map((value) => value.toFixed(digits));
    return `${x}, ${y}${this.link.scene.crs ? ` · ${this.link.scene.crs}` : ""}`;
  }

  drawMasks() {
    const { state } = this.link;
    const told = JSON.stringify([state.chosen, state.candidates.map((one) => one.score)]);
    if (told === this.masksTold) return;
    this.masksTold = told;
    this.masks.replaceChildren();
    this.masks.style.display = state.candidates.length ? "" : "none";
    state.candidates.forEach((one, index) => {
      const made = this.button(this.masks, null, `Mask ${index + 1} of ${state.candidates.length} (Tab), score ${one.score.toFixed(2)}`, () => this.link.ask("choose", { index }), String(index + 1));
      made.dataset.act = "choose";
      element("span", "samgeo-score", made, one.score.toFixed(2));
      made.classList.toggle("samgeo-low", one.score < LOW_SCORE);
      made.setAttribute("aria-pressed", String(index === state.chosen));
    });
  }

  drawChips() {
    const { link } = this;
    const told = JSON.stringify([link.labels, link.label]);
    if (told === this.chipsTold) return;
    this.chipsTold = told;
    this.chips.replaceChildren();
    this.chips.style.display = link.labels.length ? "" : "none";
    link.labels.slice(0, 9).forEach((label, index) => {
      const made = this.button(this.chips, null, `Label ${label} (${index + 1})`, () => this.choose(label));
      element("span", "samgeo-swatch", made).style.background = link.colour(label);
      element("span", "", made, label);
      element("span", "samgeo-key", made, String(index + 1));
      made.dataset.act = "label";
      made.setAttribute("aria-pressed", String(label === link.label));
    });
    this.input.placeholder = link.labels.length ? "other label" : "label";
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.drawTiles(context);
    this.inPixels(context);
    this.drawShapes(context);
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.drawMarks(context);
    this.drawScale();
  }

  // Columns and rows as coordinates of the canvas.
  inPixels(context) {
    const scale = this.scale * this.ratio;
    const left = this.canvas.width / 2 - this.center[0] * scale, top = this.canvas.height / 2 - this.center[1] * scale;
    context.setTransform(scale, 0, 0, scale, left, top);
  }

  level() {
    const [lowest, top] = this.link.scene.levels;
    return Math.min(Math.max(Math.ceil(-Math.log2(this.scale * this.ratio) - 0.4), lowest), top);
  }

  // Keys of the tiles of a level that the view shows, those in the middle first.
  keys(z) {
    const { scene } = this.link;
    const side = scene.tile * 2 ** z;
    const [left, top] = this.toPixel([0, 0]), [right, bottom] = this.toPixel([this.width, this.height]);
    const found = [];
    const last = [Math.ceil(scene.width / side) - 1, Math.ceil(scene.height / side) - 1];
    for (let y = Math.max(0, Math.floor(top / side)); y <= Math.min(last[1], Math.floor(bottom / side)); y++) {
      for (let x = Math.max(0, Math.floor(left / side)); x <= Math.min(last[0], Math.floor(right / side)); x++) {
        found.push([Math.hypot((x + 0.5) * side - this.center[0], (y + 0.5) * side - this.center[1]), `${z}/${x}/${y}`]);
      }
    }
    return found.sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);
  }

  drawTiles(context) {
    const { link } = this;
    const { scene } = link;
    const z = this.level(), top = scene.levels[1];
    this.inPixels(context);
    context.imageSmoothingQuality = "high";
    // Coarser tiles lie under finer ones until these come.
    for (let level = top; level >= z; level--) {
      const side = scene.tile * 2 ** level;
      context.imageSmoothingEnabled = this.scale * this.ratio * 2 ** level < 2 || level > z; // crisp pixels from nearby
      for (const key of this.keys(level)) {
        const tile = link.use(key);
        if (!tile || !tile.bitmap) continue;
        const [, x, y] = key.split("/").map(Number);
        const width = Math.min(side, scene.width - x * side), height = Math.min(side, scene.height - y * side);
        context.drawImage(tile.bitmap, x * side, y * side, width, height);
      }
    }
    const wanted = this.keys(z);
    link.wantTiles(z < top ? [`${top}/0/0`, ...wanted] : wanted);
    if (!this.ahead && link.asked.size === 0 && !link.busy) {
      this.ahead = true; // the first click should find its window encoded
      const place = { col: this.center[0], row: this.center[1] };
      setTimeout(() => link.prefetch(place), REST_MS);
    }
  }

  shape(context, path, colour, fill, width, dash = []) {
    const unit = 1 / this.scale;
    context.globalAlpha = fill;
    context.fillStyle = colour;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
    context.setLineDash([]);
    context.lineJoin = "round";
    context.strokeStyle = "rgb(0 0 0 / 55%)"; // colours show on any image with a dark line under them
    context.lineWidth = (width + 2) * unit;
    context.stroke(path);
    context.setLineDash(dash.map((length) => length * unit));
    context.strokeStyle = colour;
    context.lineWidth = width * unit;
    context.stroke(path);
    context.setLineDash([]);
  }

  drawShapes(context) {
    const { link } = this;
    for (const feature of link.features) this.shape(context, feature.path, link.colour(feature.label), 0.22, 1.6);
    if (link.hover.path) this.shape(context, link.hover.path, HOVER, 0.15, 1.5, [5, 4]);
    const best = link.shapes[link.state.chosen];
    if (best) this.shape(context, best, CANDIDATE, 0.32, 2.4);
  }

  drawMarks(context) {
    const { link } = this;
    if (link.state.box) {
      const [left, top] = this.toScreen(link.state.box.slice(0, 2)), [right, bottom] = this.toScreen(link.state.box.slice(2));
      this.rectangle(context, left, top, right, bottom, true);
    }
    if (this.drag && this.drag.kind !== "pan" && this.far(this.drag)) {
      this.rectangle(context, ...this.toScreen(this.drag.from), ...this.drag.to, false);
    }
    for (const [col, row, positive] of link.state.points) this.mark(context, this.toScreen([col, row]), positive, true);
    for (const one of link.waiting.values()) {
      if (one.op === "click") this.mark(context, this.toScreen([one.col, one.row]), one.positive, false);
    }
  }

  rectangle(context, left, top, right, bottom, kept) {
    context.setLineDash(kept ? [6, 4] : []);
    for (const [colour, width] of [["rgb(0 0 0 / 55%)", 3.5], [CANDIDATE, 1.6]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(left, top, right - left, bottom - top);
    }
    context.setLineDash([]);
  }

  // A disc with plus or minus; hollow until the kernel has answered.
  mark(context, [x, y], positive, answered) {
    const colour = positive ? ON : BESIDE;
    context.beginPath();
    context.arc(x, y, 8, 0, 2 * Math.PI);
    context.fillStyle = answered ? colour : "rgb(255 255 255 / 85%)";
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = answered ? "#fff" : colour;
    context.stroke();
    context.beginPath();
    context.moveTo(x - 4, y);
    context.lineTo(x + 4, y);
    if (positive) {
      context.moveTo(x, y - 4);
      context.lineTo(x, y + 4);
    }
    context.strokeStyle = answered ? "#fff" : colour;
    context.stroke();
  }

  drawScale() {
    const { pixel_m: metres } = this.link.scene;
    this.scalebar.style.display = metres ? "" : "none";
    if (!metres) return;
    const most = (110 / this.scale) * metres, step = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((times) => times * step).find((value) => value <= most);
    this.scalebar.style.width = `${Math.round((length / metres) * this.scale)}px`;
    const text = length >= 1000 ? `${length / 1000} km` : length >= 1 ? `${length} m` : `${+(length * 100).toPrecision(2)} cm`;
    this.scalebar.textContent = text;
  }
}

export default () => {
  let link = null;
  return {
    initialize({ model }) {
      link = new Link(model);
      return () => link.close();
    },
    render({ model, el }) {
      const view = new View(link, el);
      const resize = () => {
        view.stage.style.height = model.get("height");
      };
      model.on("change:height", resize);
      return () => {
        model.off("change:height", resize);
        view.close();
      };
    },
  };
};
