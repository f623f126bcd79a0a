// Functions that Dash does not have: links without a reload, the theme, the link of the page, the title and the focus.
(() => {
  const root = document.documentElement;
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;

  let hiding = null;
  const notice = (text, stays = false) => {
    clearTimeout(hiding);
    document.getElementById("notice").textContent = text;
    if (!stays) hiding = setTimeout(notice, 4000, "", true);
  };

  // Until the server answers, the old view stays below the new URL: show a message if that takes long or fails.
  let warned = false;
  const warn = (text) => {
    if (text || warned) notice(text && `${text}: what you see is from before.`, true);
    warned = Boolean(text);
  };
  const ask = window.fetch;
  window.fetch = async (...given) => {
    if (!String(given[0]).includes("_dash-update-component")) return ask(...given);
    const late = setTimeout(warn, 2000, "Waiting for an answer");
    let problem = "The server of this page cannot be reached, reload to try again";
    try {
      const answer = await ask(...given);
      problem = answer.ok ? "" : "This cannot be shown, reload to try again";
      return answer;
    } finally {
      clearTimeout(late);
      warn(problem);
    }
  };

  const go = (href) => {
    // Draw nothing again while the URL stays the same.
    if (new URL(href, location).href === location.href) return location.reload();
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

  // A change of the URL draws the view again: restore the focus.
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
