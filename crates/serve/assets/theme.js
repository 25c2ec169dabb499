// Runs before the first paint, so that a chosen theme never flashes the other one.
"use strict";
(() => {
  try {
    const chosen = localStorage.getItem("sprat.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Without storage the system's theme it is.
  }
})();
