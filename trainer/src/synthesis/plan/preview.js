const lines = JSON.parse(document.getElementById("plan").textContent);
const struck = new Set();
function show() {
  document.getElementById("left").textContent = `${lines.length - struck.size} of ${lines.length} clips are left.`;
}
document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.checked) struck.add(box.value); else struck.delete(box.value);
  box.closest("article").classList.toggle("struck", box.checked);
  show();
});
document.getElementById("save").addEventListener("click", () => {
  const text = lines.filter((l) => !struck.has(l.id)).map((l) => JSON.stringify(l) + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  link.download = "plan.jsonl";
  link.click();
});
show();
