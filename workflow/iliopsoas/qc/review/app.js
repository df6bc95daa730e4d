"use strict";
// The page's behaviour: which list, which participant, what a key does.

(async () => {
  const { $ } = reviewView;
  const PAGE = 40;
  let head;
  let list = { key: "all", length: 0, rank: (i) => i };
  let position = 0;
  let row = null;
  let turn = 0; // answers of an older turn are ignored

  const rater = () => reviewStore.clean($("rater").value).replace(/^:+/, "");
  const blinded = () => list.key === "blinded";
  const mode = () => (blinded() ? "blinded" : "open");
  const decisionOf = (one) => reviewStore.of(rater(), one, mode());
  let silence = 0;
  function say(text) {
    $("status").textContent = text;
    clearTimeout(silence);
    silence = setTimeout(() => ($("status").textContent = ""), 4000);
  }

  function warn(text) {
    $("warning").textContent = text;
    $("warning").hidden = !text;
  }

  async function open(key) {
    if (key === "all") return { key, length: head.participants, rank: (i) => i };
    if (key === "blinded") return { key, length: head.blinded.length, rank: (i) => head.blinded[i] };
    const [kind, name] = key.split(":");
    if (kind === "verdict") {
      const [first, last] = head.starts[name] ?? [0, -1];
      // a verdict's participants need not be neighbours: those between are passed over
      if (last - first + 1 === head.counts[head.verdicts.indexOf(name)]) {
        return { key, length: last - first + 1, rank: (i) => first + i };
      }
      const wanted = head.verdicts.indexOf(name);
      const ranks = [];
      for (let rank = first; rank <= last; rank++) {
        if ((await reviewData.row(rank)).qc === wanted) ranks.push(rank);
      }
      return { key, length: ranks.length, rank: (i) => ranks[i] };
    }
    const ranks = await reviewData.flagged(Number(name));
    return { key, length: ranks.length, rank: (i) => ranks[i] };
  }

  async function draw() {
    const mine = ++turn;
    const first = Math.floor(position / PAGE) * PAGE;
    const last = Math.min(first + PAGE, list.length);
    const ranks = [];
    for (let i = first; i < last; i++) ranks.push(list.rank(i));
    const rows = await Promise.all(ranks.map(reviewData.row));
    if (mine !== turn) return;
    row = rows[position - first] ?? null;
    const who = rater();
    if (row) {
      reviewView.participant(
        head, row, decisionOf(row), blinded(), position, list.length,
      );
    } else {
      $("name").textContent = "Nobody in this list";
    }
    reviewView.listing(head, rows, position, blinded(), first, list.length, decisionOf, (to) =>
      attempt(() => go(to)),
    );
    $("case").hidden = !row;
    $("undo").disabled = !reviewStore.canUndo();
    const unsaved = reviewStore.unsaved();
    $("save").textContent = unsaved ? `Save TSV (${unsaved} new)` : "Save TSV";
    $("progress").textContent = who
      ? `${reviewStore.count(who).toLocaleString("en")} decided`
      : "enter your initials to decide";
    document.querySelector("#rows [aria-current]")?.scrollIntoView({ block: "nearest" });
    if (!reviewStore.isPersistent()) {
      warn("This browser keeps nothing for this page: save the TSV before you close it.");
    }
    document.body.dataset.ready = String(mine);
  }

  async function go(to) {
    position = Math.min(Math.max(to, 0), Math.max(list.length - 1, 0));
    await draw();
  }

  async function step(by) {
    let to = position + by;
    if ($("undecided").checked) {
      while (to >= 0 && to < list.length) {
        const there = await reviewData.row(list.rank(to));
        if (!decisionOf(there)?.decision) break;
        to += by;
      }
    }
    if (to < 0 || to >= list.length) {
      say(by > 0 ? "The end of this list." : "The beginning of this list.");
      return draw();
    }
    return go(to);
  }

  async function choose(key) {
    list = await open(key);
    say(""); // it may name somebody who is shown blinded next
    reviewStore.setting("list", key);
    reviewView.lists(head, key, (next) => attempt(() => choose(next)));
    await go(0);
    if ($("undecided").checked && row && decisionOf(row)?.decision) await step(1);
  }

  async function decide(decision) {
    if (!row) return;
    if (!rater()) {
      warn("Enter your initials first: every decision carries its rater.");
      $("rater").focus();
      return;
    }
    warn("");
    const note = $("note").value;
    reviewStore.decide(row, rater(), { decision, note }, mode());
    say(`${blinded() ? "Case" : row.eid}: ${decision}`);
    await step(1);
  }

  async function keepNote() {
    if (!row) return;
    const known = decisionOf(row);
    const note = reviewStore.clean($("note").value);
    if (note === (known ? known.note : "")) return;
    if (!rater()) {
      warn("Enter your initials first: every note carries its rater.");
      return;
    }
    reviewStore.decide(row, rater(), { note }, mode());
    await draw();
  }

  async function undo() {
    const name = reviewStore.undo();
    if (!name) return;
    say("Undone.");
    // back to who it was about, where the list has them
    for (let back = position; back >= 0 && back > position - PAGE; back--) {
      if ((await reviewData.row(list.rank(back))).name === name) {
        await go(back);
        return;
      }
    }
    await draw();
  }

  function save() {
    const blob = new Blob([reviewStore.toTsv()], { type: "text/tab-separated-values" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `decisions_${rater().replace(/[^A-Za-z0-9-]+/g, "_") || "review"}.tsv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    reviewStore.saved();
    say("Saved: " + link.download);
    return draw();
  }

  async function loadFile(file) {
    try {
      const { read, taken } = reviewStore.fromTsv(await file.text());
      warn("");
      say(`${file.name}: ${read} decisions read, ${taken} of them newer than what was here.`);
      await draw();
    } catch (error) {
      warn(`${file.name} cannot be used: ${error.message}.`);
    }
  }

  async function find(query) {
    const text = query.trim();
    if (!text) return;
    const rank = await reviewData.find(text);
    if (rank < 0) {
      say(`No participant ${text}.`);
      return;
    }
    await choose("all");
    await go(rank);
    $("case").focus();
  }

  // one after the other: a key pressed before the last one is drawn must not decide on its row
  let last = Promise.resolve();
  function attempt(action) {
    last = last.then(action).catch((error) => warn(`The page’s data: ${error.message}.`));
  }
  const KEYS = {
    a: () => decide("accept"),
    r: () => decide("reject"),
    d: () => decide("redo"),
    n: () => step(1),
    ArrowRight: () => step(1),
    p: () => step(-1),
    ArrowLeft: () => step(-1),
    u: undo,
    s: save,
  };
  const MOVES = ["n", "p", "ArrowRight", "ArrowLeft"];
  // these wait for nothing: what is typed next belongs into the field
  const AT_ONCE = {
    e: () => $("note").focus(),
    z: () => $("figure").classList.toggle("large"),
    Escape: () => $("figure").classList.remove("large"),
    "/": () => $("query").focus(),
    "?": () => $("helpbox").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]), textarea");
    if (typing && event.key === "Escape") event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || $("helpbox").open) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!KEYS[key] && !AT_ONCE[key]) return;
    event.preventDefault();
    if (event.repeat && !MOVES.includes(key)) return; // a key held down decides once
    if (AT_ONCE[key]) AT_ONCE[key]();
    else attempt(KEYS[key]);
  });
  for (const button of document.querySelectorAll("[data-decision]")) {
    button.addEventListener("click", () => attempt(() => decide(button.dataset.decision)));
  }
  const on = (id, event, action) => $(id).addEventListener(event, action);
  on("next", "click", () => attempt(() => step(1)));
  on("previous", "click", () => attempt(() => step(-1)));
  on("later", "click", () => attempt(() => go((Math.floor(position / PAGE) + 1) * PAGE)));
  on("earlier", "click", () => attempt(() => go((Math.floor(position / PAGE) - 1) * PAGE)));
  on("undo", "click", () => attempt(undo));
  on("save", "click", () => attempt(save));
  on("load", "click", () => $("file").click());
  on("file", "change", () => {
    for (const file of $("file").files) attempt(() => loadFile(file));
    $("file").value = "";
  });
  on("help", "click", () => $("helpbox").showModal());
  on("picture", "click", () => $("figure").classList.toggle("large"));
  on("note", "change", () => attempt(keepNote));
  on("note", "keydown", (event) => event.key === "Enter" && $("note").blur());
  on("rater", "change", () => {
    reviewStore.setting("rater", rater());
    $("rater").value = rater();
    warn("");
    attempt(draw);
  });
  on("undecided", "change", () => reviewStore.setting("undecided", String($("undecided").checked)));
  on("rater", "keydown", (event) => event.key === "Enter" && $("rater").blur());
  on("search", "submit", (event) => {
    event.preventDefault();
    $("query").blur();
    attempt(() => find($("query").value));
  });
  addEventListener("beforeunload", (event) => {
    if (!reviewStore.isPersistent() && reviewStore.unsaved()) event.preventDefault();
  });

  $("rater").value = reviewStore.setting("rater");
  $("undecided").checked = reviewStore.setting("undecided") === "true";
  try {
    head = await reviewData.start();
    document.title = $("title").textContent = "Review · " + head.title;
    const before = reviewStore.setting("list") || "all";
    await choose(before).catch(() => choose("all"));
  } catch (error) {
    warn(`The page’s data: ${error.message}. Open index.html from the folder it was written to.`);
  }
})();
