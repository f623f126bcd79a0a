// What Dash has no words for: links without a reload, the theme, the link of the page, the title, and where the focus is.
(() => {
  const root = document.documentElement;
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;

  const notice = (text) => {
    const place = document.getElementById("notice");
    place.textContent = text;
    setTimeout(() => { place.textContent = ""; }, 4000);
  };

  const go = (href) => {
    const path = location.pathname;
    history.pushState({}, "", href);
    window.dispatchEvent(new PopStateEvent("popstate"));
    if (path !== location.pathname) {
      window.scrollTo(0, 0);
      document.getElementById("main").focus({ preventScroll: true });
    }
  };

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      notice("Link copied");
    } catch {
      notice(`Copy this link: ${location.href}`);
    }
  };

  const turn = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    notice(`${dark ? "Light" : "Dark"} theme`);
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest("a, button");
    if (!target) return;
    if (target.id === "copy-link") copy();
    if (target.id === "theme") turn();
    if (target.tagName !== "A" || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const href = target.getAttribute("href") || "";
    if (!href.startsWith("/") || href.startsWith("/download/")) return;
    event.preventDefault();
    go(href);
  });

  // A view is drawn anew when the URL changes: give the focus back to what had it.
  let last = null;
  let greeted = "";
  const sign = (element) => element.id || (element.tagName === "A" ? `a:${element.textContent}` : null);
  document.addEventListener("focusin", (event) => {
    last = { sign: sign(event.target), at: event.target.selectionStart };
  });
  const settled = () => {
    for (const still of document.querySelectorAll("[data-html]")) {
      if (still.shown === still.dataset.html) continue;
      still.shown = still.dataset.html;
      still.innerHTML = still.shown;
    }
    const view = document.querySelector("#view > .view");
    if (view && document.title !== view.dataset.title) document.title = view.dataset.title;
    const entry = document.querySelector("#view .form input");
    if (entry && greeted !== location.search) {
      greeted = location.search;
      entry.focus();
    }
    if (document.activeElement !== document.body || !last?.sign) return;
    const found = [...document.querySelectorAll("#view a, #view input, #view button, nav a")].find((e) => sign(e) === last.sign);
    found?.focus({ preventScroll: true });
    if (found?.type === "text" && last.at != null) found.setSelectionRange(found.value.length, found.value.length);
  };
  new MutationObserver(settled).observe(document.getElementById("react-entry-point"), {
    childList: true, subtree: true, attributeFilter: ["data-html", "data-title"],
  });
})();
