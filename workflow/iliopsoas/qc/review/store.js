"use strict";
// Decisions: kept in this browser; undo; TSV in and out. A rater has one entry per participant for
// what was judged openly and one for what was judged blinded: neither replaces the other.

const reviewStore = (() => {
  // a page in another folder is another review
  const prefix = "iliopsoas-review:" + location.pathname.replace(/[^/]*$/, "") + ":";
  const COLUMNS = ["eid", "instance", "rater", "decision", "note", "time", "mode", "judged"];
  const DECISIONS = ["accept", "reject", "redo", ""];
  const decisions = new Map(); // rater \n participant (\n blinded) -> entry
  const history = [];
  let persistent = true;

  const keyOf = (rater, name, mode) =>
    rater + "\n" + name + (mode === "blinded" ? "\nblinded" : "");
  const keyOfEntry = (entry) => keyOf(entry.rater, nameOf(entry), entry.mode);
  const nameOf = (entry) => entry.eid + "_" + entry.instance;
  const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const clean = (text) => String(text).replace(/[\t\r\n\u2028\u2029]+/g, " ").trim();

  function keep(key, entry) {
    if (entry) decisions.set(key, entry);
    else decisions.delete(key);
    try {
      if (entry) localStorage.setItem(prefix + key, JSON.stringify(entry));
      else localStorage.removeItem(prefix + key);
    } catch {
      persistent = false;
    }
  }

  function valid(entry) {
    return (
      entry !== null &&
      typeof entry === "object" &&
      COLUMNS.every((name) => typeof entry[name] === "string") &&
      DECISIONS.includes(entry.decision) &&
      entry.rater !== "" &&
      entry.eid !== "" &&
      entry.instance !== ""
    );
  }

  function restore() {
    try {
      for (let i = 0; i < localStorage.length; i++) {
        const key = localStorage.key(i);
        if (!key.startsWith(prefix) || key.startsWith(prefix + ":")) continue;
        try {
          const entry = JSON.parse(localStorage.getItem(key));
          if (valid(entry)) decisions.set(keyOfEntry(entry), entry);
        } catch {
          continue; // not ours, or damaged: left alone
        }
      }
    } catch {
      persistent = false;
    }
  }

  // settings start with a second colon, which no rater's name can
  function setting(name, value) {
    try {
      if (value === undefined) return localStorage.getItem(prefix + ":" + name) ?? "";
      localStorage.setItem(prefix + ":" + name, value);
    } catch {
      persistent = false;
    }
    return value ?? "";
  }

  // what a rater thinks of a row: of a decision on an earlier mask only `was` is left
  function of(rater, row, mode) {
    const both = [keyOf(rater, row.name, mode), keyOf(rater, row.name, "blinded")];
    const found = (mode === "blinded" ? both.slice(0, 1) : both)
      .map((key) => decisions.get(key))
      .filter((entry) => entry && (entry.decision || entry.note));
    if (!found.length) return null;
    const entry = found.reduce((a, b) => (b.time > a.time ? b : a));
    const stale = entry.judged && row.judged && entry.judged !== row.judged;
    return { ...entry, decision: stale ? "" : entry.decision, was: stale ? entry.decision : "" };
  }

  function decide(row, rater, change, mode) {
    const key = keyOf(rater, row.name, mode);
    const known = of(rater, row, mode);
    const entry = {
      eid: row.eid,
      instance: row.instance,
      rater,
      decision: known ? known.decision : "",
      note: known ? known.note : "",
      ...change,
      time: now(),
      mode,
      judged: row.judged,
    };
    entry.note = clean(entry.note);
    history.push({ key, before: decisions.get(key) ?? null, after: entry, saved: false });
    keep(key, entry);
    setting("unsaved", String(unsaved() + 1));
    return entry;
  }

  // what left in a TSV is outdone by a newer entry, so that the older file no longer counts
  function undo() {
    const last = history.pop();
    if (!last) return null;
    const { key, before, after } = last;
    const back = before ?? { ...after, decision: "", note: "" };
    keep(key, last.saved ? { ...back, time: now() } : before);
    setting("unsaved", String(Math.max(unsaved() + (last.saved ? 1 : -1), 0)));
    return key.split("\n")[1];
  }

  function saved() {
    for (const step of history) step.saved = true;
    setting("unsaved", "0");
  }

  const unsaved = () => Number(setting("unsaved")) || 0;
  const count = (rater) =>
    new Set([...decisions.values()].filter((d) => d.rater === rater && d.decision).map(nameOf)).size;
  // a spreadsheet must not take a note for a formula, and puts quotes around commas and quotes
  const cell = (text) => (/^[=+\-@]/.test(text) ? "'" + text : text);
  const uncell = (text) => {
    const bare = text.trim();
    const inner = bare.slice(1, -1);
    const quoted = /^".*"$/.test(bare) && bare.length > 1 && !inner.replaceAll('""', "").includes('"');
    return clean((quoted ? inner.replaceAll('""', '"') : bare).replace(/^'(?=[=+\-@])/, ""));
  };

  function toTsv() {
    const rows = [...decisions.values()].sort((a, b) =>
      a.time < b.time ? -1 : a.time > b.time ? 1 : nameOf(a) < nameOf(b) ? -1 : 1,
    );
    const lines = rows.map((row) => COLUMNS.map((name) => cell(clean(row[name]))).join("\t"));
    return [COLUMNS.join("\t"), ...lines].join("\n") + "\n";
  }

  // returns counts, or throws an Error that says what is wrong with the file
  function fromTsv(text) {
    const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\r|\n/);
    const header = lines.shift().split("\t").map((name) => uncell(name).toLowerCase());
    for (const name of COLUMNS.slice(0, 6)) {
      if (!header.includes(name)) throw new Error("column " + name + " is missing");
    }
    const entries = [];
    lines.forEach((line, number) => {
      if (!line.trim()) return;
      const cells = line.split("\t").map(uncell);
      const entry = {};
      for (const name of COLUMNS) {
        entry[name] = header.includes(name) ? (cells[header.indexOf(name)] ?? "") : "";
      }
      entry.decision = entry.decision.toLowerCase();
      if (!valid(entry) || cells.slice(header.length).join("")) {
        throw new Error("line " + (number + 2) + " is not a decision");
      }
      entries.push(entry);
    });
    let taken = 0;
    for (const entry of entries) {
      const key = keyOfEntry(entry);
      const known = decisions.get(key);
      if (known && known.time >= entry.time) continue;
      keep(key, entry);
      taken++;
    }
    return { read: entries.length, taken };
  }

  // the page in another tab: its decisions belong in this tab's TSV too
  addEventListener("storage", (event) => {
    if (!event.key?.startsWith(prefix) || event.key.startsWith(prefix + ":")) return;
    if (event.newValue === null) {
      decisions.delete(event.key.slice(prefix.length));
      return;
    }
    try {
      const entry = JSON.parse(event.newValue);
      if (valid(entry)) decisions.set(keyOfEntry(entry), entry);
    } catch {
      return; // damaged: what is here stays
    }
  });

  restore();
  return {
    decide,
    undo,
    toTsv,
    fromTsv,
    setting,
    unsaved,
    saved,
    clean,
    count,
    of,
    canUndo: () => history.length > 0,
    isPersistent: () => persistent,
  };
})();
