// The study's files inside this page, by their path beside it; links to them save these copies.
async function unpack() {
  const bytes = Uint8Array.from(atob(document.getElementById("files").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function save(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// A link to a file that the page holds saves the copy: it works where the page was sent without its folder.
function serveLinks(files) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-file]");
    if (!link || !(link.dataset.file in files)) return;
    event.preventDefault();
    const name = link.dataset.file.replace(/^(\.\.\/)+/, "").replaceAll("/", "__");
    save(name, files[link.dataset.file], name.endsWith(".json") ? "application/json" : "text/plain");
  });
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).innerText;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      save(`${button.dataset.copy}.txt`, text, "text/plain"); // a page opened from a file may have no clipboard
      button.textContent = "Saved";
    }
  });
}
