// A picture whose pixels can be picked, hovered, boxed and, with a second picture, swiped.
// Rows and columns are those of the picture, whatever size it is shown at.

const SVG = "http://www.w3.org/2000/svg";

function svg(parent, name) {
  return parent.appendChild(document.createElementNS(SVG, name));
}

function render({ model, el }) {
  const stage = document.createElement("div");
  stage.className = "iapc-stage";
  stage.tabIndex = 0;
  stage.setAttribute("role", "img");
  const left = stage.appendChild(document.createElement("img"));
  const right = stage.appendChild(document.createElement("img"));
  right.className = "iapc-right";
  left.draggable = right.draggable = false;
  left.alt = right.alt = "";
  const corners = ["iapc-first", "iapc-second"].map((place) => {
    const corner = stage.appendChild(document.createElement("div"));
    corner.className = `iapc-name ${place}`;
    return corner;
  });
  const overlay = svg(stage, "svg");
  overlay.setAttribute("preserveAspectRatio", "none");
  const halo = svg(overlay, "path");
  halo.setAttribute("class", "iapc-halo");
  const cross = svg(overlay, "path");
  cross.setAttribute("class", "iapc-cross");
  const box = svg(overlay, "rect");
  box.setAttribute("class", "iapc-box");
  const swipe = document.createElement("input");
  swipe.type = "range";
  swipe.min = 0;
  swipe.max = 1;
  swipe.step = 0.01;
  swipe.className = "iapc-swipe";
  swipe.setAttribute("aria-label", "swipe between the two pictures");
  const seam = stage.appendChild(document.createElement("div"));
  seam.className = "iapc-seam";
  el.append(stage, swipe);

  const urls = new Map();
  function source(image, name) {
    const bytes = model.get(name);
    URL.revokeObjectURL(urls.get(name));
    urls.delete(name);
    image.hidden = !bytes || bytes.byteLength === 0;
    if (image.hidden) {
      image.removeAttribute("src");
      return;
    }
    const url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    urls.set(name, url);
    image.src = url;
  }

  function draw() {
    const [height, width] = model.get("size");
    stage.style.width = `min(100%, ${model.get("width")}px)`;
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.setAttribute("aria-label", model.get("alt"));
    overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const picked = model.get("picked");
    const arm = Math.max(4, Math.round(Math.min(height, width) / 16));
    let path = "";
    if (picked.length) {
      const [y, x] = [picked[0] + 0.5, picked[1] + 0.5];
      path = `M${x - arm} ${y}H${x - 1.5}M${x + 1.5} ${y}H${x + arm}`;
      path += `M${x} ${y - arm}V${y - 1.5}M${x} ${y + 1.5}V${y + arm}`;
    }
    halo.setAttribute("d", path);
    cross.setAttribute("d", path);
    const region = model.get("region");
    box.style.display = region.length ? "" : "none";
    if (region.length) {
      const [top, first, bottom, last] = region;
      box.setAttribute("x", first);
      box.setAttribute("y", top);
      box.setAttribute("width", last - first);
      box.setAttribute("height", bottom - top);
    }
    const two = !right.hidden;
    swipe.style.display = seam.style.display = two ? "" : "none";
    seam.style.left = `${100 * model.get("split")}%`;
    corners.forEach((corner, place) => (corner.textContent = (two && model.get("names")[place]) || ""));
    swipe.style.width = stage.style.width;
    swipe.value = model.get("split");
    right.style.clipPath = `inset(0 0 0 ${100 * model.get("split")}%)`;
  }

  function send(name, value) {
    model.set(name, value);
    model.save_changes();
  }

  function pixel(event) {
    const [height, width] = model.get("size");
    const frame = stage.getBoundingClientRect();
    const row = Math.floor(((event.clientY - frame.top) / frame.height) * height);
    const column = Math.floor(((event.clientX - frame.left) / frame.width) * width);
    const within = (value, side) => Math.min(Math.max(value, 0), side - 1);
    return [within(row, height), within(column, width)];
  }

  let start = null; // where the mouse went down, until it goes up
  let resting = 0; // timer: Python need not hear of every pixel, but of the one the mouse rests on
  let under = []; // the pixel under the mouse
  const boxed = (a, b) => [
    Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]) + 1, Math.max(a[1], b[1]) + 1,
  ];
  function hover(now) {
    under = now;
    resting ||= setTimeout(() => {
      resting = 0;
      send("hovered", under);
    }, 60);
  }
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    start = pixel(event);
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    const now = pixel(event);
    if (start && model.get("boxes")) {
      model.set("region", boxed(start, now)); // seen at once, sent when the mouse goes up
      draw();
    } else {
      hover(now);
    }
  });
  stage.addEventListener("pointerup", (event) => {
    if (!start) return;
    const end = pixel(event);
    const moved = Math.max(Math.abs(end[0] - start[0]), Math.abs(end[1] - start[1])) > 1;
    const [from, boxes] = [start, model.get("boxes")];
    start = null;
    if (moved && boxes) return send("region", boxed(from, end));
    if (boxes) model.set("region", []);
    send("picked", end);
  });
  stage.addEventListener("pointercancel", () => (start = null));
  let pulled = null; // where the seam was taken, and whether it was moved since
  seam.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    if (event.button !== 0) return;
    pulled = { x: event.clientX, moved: false };
    seam.setPointerCapture(event.pointerId);
  });
  seam.addEventListener("pointermove", (event) => {
    if (!pulled) return;
    event.stopPropagation();
    pulled.moved ||= Math.abs(event.clientX - pulled.x) > 2;
    const frame = stage.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - frame.left) / frame.width, 0), 1);
    if (pulled.moved) send("split", share);
  });
  seam.addEventListener("pointerup", (event) => {
    event.stopPropagation();
    if (pulled && !pulled.moved) send("picked", pixel(event)); // a click on the picture beneath
    pulled = null;
  });
  seam.addEventListener("pointercancel", () => (pulled = null));
  stage.addEventListener("pointerleave", () => hover([]));
  stage.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const [height, width] = model.get("size");
    if (event.key === "Escape") return send("region", []);
    if (!(event.key in move)) return;
    event.preventDefault();
    event.stopPropagation(); // or a notebook would move to the next cell
    const stride = event.shiftKey ? 10 : 1;
    const picked = model.get("picked");
    const from = picked.length ? picked : [height >> 1, width >> 1];
    const to = move[event.key].map((step, axis) => from[axis] + stride * step);
    send("picked", [
      Math.min(Math.max(to[0], 0), height - 1), Math.min(Math.max(to[1], 0), width - 1),
    ]);
  });
  swipe.addEventListener("input", () => send("split", Number(swipe.value)));
  // Or JupyterLab takes the arrow keys for itself.
  swipe.addEventListener("keydown", (event) => event.stopPropagation());

  model.on("change:png", () => source(left, "png"));
  model.on("change:right_png", () => {
    source(right, "right_png");
    draw();
  });
  for (const name of ["size", "width", "alt", "picked", "region", "split", "names"]) {
    model.on(`change:${name}`, draw);
  }
  source(left, "png");
  source(right, "right_png");
  draw();
  model.send({ shown: true });
  return () => {
    clearTimeout(resting);
    urls.forEach((url) => URL.revokeObjectURL(url));
  };
}

export default { render };
