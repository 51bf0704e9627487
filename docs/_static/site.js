// A click on a picture shows it as large as the window; the next one, or Escape, puts it back.
document.addEventListener("click", (event) => {
  const picture = event.target;
  if (!picture.matches(".bd-article img") || picture.closest("a")) return;
  const dialog = document.body.appendChild(document.createElement("dialog"));
  dialog.className = "enlarged";
  const large = dialog.appendChild(document.createElement("img"));
  large.src = picture.src;
  large.alt = picture.alt;
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
});
