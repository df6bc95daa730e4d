"use strict";
// Draws; decides nothing. All text goes in as text, never as markup.

const reviewView = (() => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const DONE = { accept: "accepted", reject: "rejected", redo: "to re-do" };

  function element(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    Object.assign(node, properties);
    node.append(...children);
    return node;
  }

  function shape(tag, attributes, text) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  const number = (value, digits) =>
    value === null ? "–" : value.toFixed(digits).replace("-", "−");

  // the cohort's distribution of one measure, this participant's place in it
  function histogram(measure, value, sex) {
    const { low, high, counts } = measure.histogram;
    const width = 260;
    const height = 46;
    const own = counts[sex || "unknown"] ? sex || "unknown" : Object.keys(counts)[0];
    const most = Math.max(1, ...counts[own]);
    const text = measure.label + ": " + number(value, measure.digits) + " " + measure.unit;
    const svg = shape("svg", {
      viewBox: `0 0 ${width} ${height + 14}`,
      role: "img",
      "aria-label": text + ", among participants of the same sex",
    });
    const step = width / counts[own].length;
    counts[own].forEach((count, i) => {
      const tall = (count / most) * (height - 4);
      svg.append(
        shape("rect", { x: i * step, y: height - tall, width: step - 1, height: tall, class: "bar" }),
      );
    });
    svg.append(shape("line", { x1: 0, x2: width, y1: height, y2: height, class: "axis" }));
    svg.append(shape("text", { x: 0, y: height + 11, class: "tick" }, number(low, 0)));
    svg.append(
      shape("text", { x: width, y: height + 11, class: "tick end" }, number(high, 0)),
    );
    if (value !== null) {
      const x = Math.min(Math.max((value - low) / (high - low), 0), 1) * width;
      svg.append(shape("line", { x1: x, x2: x, y1: 0, y2: height, class: "here" }));
      svg.append(
        shape("path", { d: `M${x - 4} 0h8l-4 6z`, class: "here" }),
      );
    }
    return element(
      "figure",
      { className: "histogram" },
      element(
        "figcaption",
        {},
        measure.label + " ",
        element("b", {}, number(value, measure.digits)),
        ` ${measure.unit}`,
      ),
      svg,
    );
  }

  // a blinded picture is drawn, not shown as a file: the file's name is the participant's
  let shown = 0;
  function picture(row, blinded) {
    const mine = ++shown;
    const [image, canvas, none] = [$("picture"), $("blind"), $("nopicture")];
    image.hidden = canvas.hidden = none.hidden = true;
    image.removeAttribute("src");
    const missing = (text) => {
      if (mine !== shown) return;
      image.hidden = true;
      none.hidden = false;
      none.textContent = text;
    };
    if (!row.picture) {
      missing(
        row.flags.some(([, text]) => text.startsWith("no volume"))
          ? "No picture: a stage of the workflow refused this participant."
          : "No picture was made: this participant has no flag and was not drawn for the sample.",
      );
      return;
    }
    const loading = blinded ? new Image() : image;
    loading.onerror = () => missing("The picture is missing from the folder.");
    loading.onload = () => {
      if (!blinded || mine !== shown) return;
      canvas.width = loading.naturalWidth;
      canvas.height = loading.naturalHeight;
      canvas.getContext("2d").drawImage(loading, 0, 0);
      canvas.hidden = false;
    };
    image.hidden = blinded;
    loading.src = row.picture + reviewData.version();
  }

  function participant(head, row, decision, blinded, position, total) {
    const verdict = head.verdicts[row.qc];
    $("name").textContent = blinded ? "Blinded case " + (position + 1) : row.eid;
    const [sex, age, height, bmi] = row.person;
    const facts = [
      row.instance === "2" ? "first visit" : row.instance === "3" ? "repeat visit" : row.instance,
      sex,
      age === null ? "" : age + " years",
      height === null ? "" : height + " cm",
      bmi === null ? "" : "BMI " + bmi,
    ];
    $("person").textContent = blinded
      ? "Flags, numbers and identity are hidden: judge the outlines alone."
      : facts.filter(Boolean).join(" · ");
    $("verdict").textContent = blinded ? "blinded" : verdict.replace("_", " ");
    $("verdict").className = "badge " + (blinded ? "blind" : verdict);
    const done = decision && decision.decision;
    const was = decision && decision.was;
    $("decision").textContent = done ? DONE[done] : was ? DONE[was] + ", an earlier mask" : "undecided";
    $("decision").className = "badge " + (done || "undecided");
    for (const button of document.querySelectorAll("[data-decision]")) {
      button.setAttribute("aria-pressed", String(button.dataset.decision === done));
    }
    $("note").value = decision ? decision.note : "";
    picture(row, blinded);

    $("readings").replaceChildren();
    $("histograms").replaceChildren();
    $("numbers").replaceChildren();
    $("facts").hidden = blinded;
    if (blinded) return;
    $("readings").append(element("h3", {}, row.flags.length ? "Flags" : "No flag"));
    for (const [flag, reading] of row.flags) {
      const info = head.flags[flag];
      const item = element(
        "p",
        { className: "reading " + info.severity, title: info.definition },
        element("b", {}, info.label),
        " " + reading,
      );
      $("readings").append(item);
    }
    if (row.values.some((value) => value !== null)) {
      $("histograms").append(
        element("h3", {}, "Among participants of the same sex"),
      );
    }
    head.measures.forEach((measure, i) => {
      const value = row.values[i];
      if (measure.histogram) $("histograms").append(histogram(measure, value, sex));
      $("numbers").append(
        element(
          "tr",
          {},
          element("th", { scope: "row" }, measure.label),
          element("td", {}, number(value, measure.digits)),
          element("td", { className: "quiet" }, measure.unit),
        ),
      );
    });
    if (row.flags.some(([flag]) => head.flags[flag].severity === head.noVolume)) {
      $("histograms").replaceChildren();
      $("numbers").replaceChildren();
    }
  }

  // one page of the current list
  function listing(head, rows, current, blinded, first, total, decisionOf, choose) {
    $("rows").start = first + 1;
    $("rows").replaceChildren(
      ...rows.map((row, i) => {
        const decision = decisionOf(row);
        const verdict = head.verdicts[row.qc];
        const button = element(
          "button",
          { type: "button", onclick: () => choose(first + i) },
          element("span", { className: "mark " + (blinded ? "blind" : verdict) }),
          element("span", { className: "id" }, blinded ? "Case " + (first + i + 1) : row.eid + (row.instance === "2" ? "" : " · " + row.instance)),
          element(
            "span",
            { className: "done " + ((decision && decision.decision) || "") },
            decision && decision.decision ? { accept: "✓", reject: "✕", redo: "↻" }[decision.decision] : "",
          ),
        );
        button.setAttribute(
          "aria-label",
          (blinded ? "case " + (first + i + 1) : row.eid + ", " + verdict.replace("_", " ")) +
            (decision && decision.decision ? ", " + DONE[decision.decision] : ""),
        );
        if (first + i === current) button.setAttribute("aria-current", "true");
        return element("li", {}, button);
      }),
    );
    $("place").textContent = total
      ? `${(first + 1).toLocaleString("en")}–${(first + rows.length).toLocaleString("en")} of ${total.toLocaleString("en")}`
      : "nobody";
  }

  function lists(head, current, choose) {
    const button = (key, label, count, kind) => {
      const node = element(
        "button",
        { type: "button", onclick: () => choose(key), className: "list" },
        element("span", { className: "mark " + kind }),
        element("span", { className: "id" }, label),
        element("span", { className: "count" }, count.toLocaleString("en")),
      );
      node.dataset.list = key;
      if (key === current) node.setAttribute("aria-current", "true");
      return node;
    };
    const group = (title, ...nodes) => (nodes.length ? [element("h2", {}, title), ...nodes] : []);
    $("lists").replaceChildren(
      ...group(
        "Worst first",
        button("all", "Everyone", head.participants, "all"),
        ...head.verdicts
          .map((name, i) => [name, head.counts[i]])
          .filter(([, count]) => count)
          .reverse()
          .map(([name, count]) => button("verdict:" + name, name.replace("_", " "), count, name)),
      ),
      ...group("Audit", ...(head.blinded.length ? [button("blinded", "Blinded sample", head.blinded.length, "blind")] : [])),
      ...group(
        "By flag",
        ...head.flags.map((flag, i) => button("flag:" + i, flag.label, flag.count, flag.severity)),
      ),
    );
  }

  return { $, participant, listing, lists };
})();
