"use strict";
// Data arrive as scripts that call reviewData.head/rows/flag/ids: works from a file system too.

const reviewData = (() => {
  const waiting = new Map(); // file -> promise of it
  const arrived = new Map(); // file -> content
  const order = []; // chunks by age, to forget the oldest
  const MOST_CHUNKS = 40;
  let head = null;

  // a web server's pages may come from the browser's cache: never mix two versions of the data
  const isServed = location.protocol.startsWith("http");
  const version = () => (isServed ? "?" + (head ? head.version : Date.now()) : "");

  function load(file) {
    if (!waiting.has(file)) {
      waiting.set(
        file,
        new Promise((resolve, reject) => {
          const script = document.createElement("script");
          script.src = "data/" + file + version();
          script.onload = () => {
            script.remove();
            if (arrived.has(file)) resolve(arrived.get(file));
            else reject(new Error(file + " is damaged"));
          };
          script.onerror = () => {
            script.remove();
            waiting.delete(file);
            reject(new Error(file + " cannot be read"));
          };
          document.head.append(script);
        }),
      );
    }
    return waiting.get(file);
  }

  function toRow(cells, rank) {
    const row = { rank };
    head.columns.forEach((name, i) => (row[name] = cells[i]));
    row.name = row.eid + "_" + row.instance;
    return row;
  }

  async function row(rank) {
    const file = "rows-" + Math.floor(rank / head.chunk) + ".js";
    const rows = await load(file);
    if (!order.includes(file)) order.push(file);
    if (order.length > MOST_CHUNKS) {
      const oldest = order.shift();
      waiting.delete(oldest);
      arrived.delete(oldest);
    }
    return rows[rank % head.chunk];
  }

  // called by the data files
  const receive = {
    head: (content) => arrived.set("head.js", content),
    rows: (number, rows) =>
      arrived.set(
        "rows-" + number + ".js",
        rows.map((cells, i) => toRow(cells, number * head.chunk + i)),
      ),
    flag: (number, ranks) => arrived.set("flag-" + number + ".js", ranks),
    ids: (text) => arrived.set("ids.js", text ? text.split(" ") : []),
  };

  return {
    ...receive,
    version,
    start: async () => (head = await load("head.js")),
    row,
    flagged: (number) => load("flag-" + number + ".js"),
    find: async (query) => {
      const ids = await load("ids.js");
      const exact = ids.indexOf(query);
      return exact >= 0 ? exact : ids.findIndex((id) => id.startsWith(query));
    },
  };
})();
