// Render the formulas that pymdownx.arithmatex has marked, on each page that is shown.
document$.subscribe(() => {
  for (const node of document.querySelectorAll(".arithmatex")) {
    const text = node.textContent.trim();
    const display = node.tagName === "DIV";
    katex.render(text.slice(2, -2), node, { displayMode: display, throwOnError: false });
  }
});
