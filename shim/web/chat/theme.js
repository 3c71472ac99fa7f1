// The theme, set before anything is painted. Rule: this file is a classic script, as a module would run too late.
"use strict";

try {
  const theme = localStorage.getItem("chat2api.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is closed to us: the system's theme is used.
}
