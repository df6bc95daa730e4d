"use strict";
// Decisions: kept in this browser, one entry per rater and participant; undo; TSV in and out.

const reviewStore = (() => {
  // a page in another folder is another review
  const prefix = "iliopsoas-review:" + location.pathname.replace(/[^/]*$/, "") + ":";
  const COLUMNS = ["eid", "instance", "rater", "decision", "note", "time", "mode", "judged"];
  const DECISIONS = ["accept", "reject", "redo", ""];
  const decisions = new Map(); // rater \n participant -> entry
  const history = [];
  let persistent = true;

  const keyOf = (rater, name) => rater + "\n" + name;
  const nameOf = (entry) => entry.eid + "_" + entry.instance;
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
      entry.rater !== ""
    );
  }

  function restore() {
    try {
      for (let i = 0; i < localStorage.length; i++) {
        const key = localStorage.key(i);
        if (!key.startsWith(prefix) || key.startsWith(prefix + ":")) continue;
        try {
          const entry = JSON.parse(localStorage.getItem(key));
          if (valid(entry)) decisions.set(keyOf(entry.rater, nameOf(entry)), entry);
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

  function decide(row, rater, change, mode) {
    const key = keyOf(rater, row.name);
    const before = decisions.get(key) ?? null;
    const entry = {
      eid: row.eid,
      instance: row.instance,
      rater,
      decision: before ? before.decision : "",
      note: before ? before.note : "",
      ...change,
      time: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      mode,
      judged: row.judged,
    };
    entry.note = clean(entry.note);
    history.push({ key, before });
    keep(key, entry.decision || entry.note ? entry : null);
    setting("unsaved", String(unsaved() + 1));
    return entry;
  }

  function undo() {
    const last = history.pop();
    if (!last) return null;
    keep(last.key, last.before);
    setting("unsaved", String(Math.max(unsaved() - 1, 0)));
    return last.key.split("\n")[1];
  }

  const unsaved = () => Number(setting("unsaved")) || 0;
  // a spreadsheet must not take a note for a formula
  const cell = (text) => (/^[=+\-@]/.test(text) ? "'" + text : text);

  function toTsv() {
    const rows = [...decisions.values()].sort((a, b) =>
      a.time < b.time ? -1 : a.time > b.time ? 1 : nameOf(a) < nameOf(b) ? -1 : 1,
    );
    const lines = rows.map((row) => COLUMNS.map((name) => cell(clean(row[name]))).join("\t"));
    return [COLUMNS.join("\t"), ...lines].join("\n") + "\n";
  }

  // returns counts, or throws an Error that says what is wrong with the file
  function fromTsv(text) {
    const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/).filter((line) => line !== "");
    const header = (lines.shift() ?? "").split("\t");
    for (const name of COLUMNS.slice(0, 6)) {
      if (!header.includes(name)) throw new Error("column " + name + " is missing");
    }
    const entries = lines.map((line, number) => {
      const cells = line.split("\t");
      const entry = {};
      for (const name of COLUMNS) {
        const value = header.includes(name) ? (cells[header.indexOf(name)] ?? "") : "";
        entry[name] = clean(value.replace(/^'(?=[=+\-@])/, ""));
      }
      if (!valid(entry)) throw new Error("line " + (number + 2) + " is not a decision");
      return entry;
    });
    let taken = 0;
    for (const entry of entries) {
      const key = keyOf(entry.rater, nameOf(entry));
      const known = decisions.get(key);
      if (known && known.time >= entry.time) continue;
      keep(key, entry);
      taken++;
    }
    return { read: entries.length, taken };
  }

  restore();
  return {
    decide,
    undo,
    toTsv,
    fromTsv,
    setting,
    unsaved,
    clean,
    saved: () => setting("unsaved", "0"),
    of: (rater, name) => decisions.get(keyOf(rater, name)) ?? null,
    count: (rater) => [...decisions.values()].filter((d) => d.rater === rater && d.decision).length,
    canUndo: () => history.length > 0,
    isPersistent: () => persistent,
  };
})();
