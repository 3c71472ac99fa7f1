// What is set before anything is painted: the theme, and the language with its direction. Rule: this file is a classic
// script, as a module would run too late.
"use strict";

{
  // The languages of the page, by their BCP 47 codes: the table of each is texts/CODE.js, its name is written in itself.
  globalThis.LANGUAGES = {
    en: { name: "English", dir: "ltr" },
    ar: { name: "العربية", dir: "rtl" },
    "zh-Hans": { name: "简体中文", dir: "ltr" },
  };

  const keptAs = (name) => {
    try {
      return localStorage.getItem(`chat2api.${name}`) ?? "";
    } catch {
      return ""; // Storage is closed to us: the system's theme is used, and the browser's language.
    }
  };

  /** The code of the language that was chosen, or else of the first of the browser's languages that there is a table for.
   * Where only another script of a language is there (Chinese), it is better than English. */
  globalThis.languageOf = (chosen, wanted) => {
    if (Object.hasOwn(LANGUAGES, chosen)) return chosen;
    const known = Object.keys(LANGUAGES).map((code) => ({ code, ...partsOf(code) }));
    for (const { language, script } of wanted.map(partsOf)) {
      const near = known.filter((one) => one.language === language);
      if (near.length) return (near.find((one) => one.script === script) ?? near[0]).code;
    }
    return "en";
  };

  const partsOf = (tag) => {
    try {
      const { language, script } = new Intl.Locale(tag).maximize();
      return { language, script };
    } catch {
      return { language: "", script: "" }; // It is no tag of a language.
    }
  };

  const root = document.documentElement;
  const theme = keptAs("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  root.lang = languageOf(keptAs("language"), navigator.languages);
  root.dir = LANGUAGES[root.lang].dir;

  // Its table, beside all else that is fetched: texts.js asks for it when it runs itself.
  const table = document.createElement("link");
  table.rel = "modulepreload";
  table.href = new URL(`texts/${root.lang}.js`, document.currentScript.src).href;
  if (root.lang !== "en") document.head.append(table);
}
