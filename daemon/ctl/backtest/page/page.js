// Draws the charts from the document in #data. No network, no library; everything that comes from
// outside is set as text, never as markup.
"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const count = data.from.length;
  const charts = [];
  let at = -1;

  function element(name, attributes, children) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    for (const child of children || []) made.appendChild(child);
    return made;
  }
  function html(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function caption(name, attributes, text) {
    const made = element(name, attributes);
    made.textContent = text;
    return made;
  }

  // --- words ------------------------------------------------------------------------------------

  function percent(share) {
    if (share === null || share === undefined) return "-";
    const p = share * 100;
    return (p === 0 ? "0" : p < 0.1 ? p.toPrecision(2) : p < 10 ? p.toFixed(2) : p.toFixed(1))
        .replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "") + " %";
  }
  function number(n) { return n.toLocaleString("en"); }
  function duration(seconds) {
    let rest = Math.round(seconds), words = [];
    for (const [size, letter] of [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]]) {
      const n = Math.floor(rest / size);
      rest -= n * size;
      if (n > 0 && words.length < 3) words.push(n + letter);
    }
    return words.join(" ") || "0s";
  }
  // What is far above 100 says no more than "far above".
  const mostHarm = 10000;
  function harm(value) {
    if (value > mostHarm) return "over " + number(mostHarm);
    return value >= 10 ? Math.floor(value).toString() : (Math.floor(value * 10) / 10).toFixed(1);
  }
  function span(i) {
    const stamp = new Date(data.begin + data.from[i] * 1000).toISOString();
    return duration(data.from[i]) + " to " + duration(data.to[i]) + " (" + stamp.slice(0, 10) +
        " " + stamp.slice(11, 16) + " UTC)";
  }

  // --- scales -----------------------------------------------------------------------------------

  const last = count > 0 ? data.to[count - 1] : 1;
  function timeTicks(most) {
    const steps = [300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400, 14 * 86400,
      28 * 86400, 91 * 86400];
    const step = steps.find((s) => last / s <= most) || steps[steps.length - 1];
    const ticks = [];
    for (let t = 0; t <= last; t += step) ticks.push(t);
    return ticks;
  }
  function linearTicks(top) {
    const rough = top / 4, power = Math.pow(10, Math.floor(Math.log10(rough)));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const ticks = [];
    for (let y = 0; y <= top * 1.0001; y += step) ticks.push(y);
    return ticks;
  }

  // --- one chart --------------------------------------------------------------------------------

  // spec: title, small, top, log, ticks, label(y), lines [{values, className, steps}],
  //       band {low, high}, rules [{y, className, text}], reading(i), about, fault(injection)
  function chart(parent, spec) {
    const small = spec.small;
    const width = small ? 420 : 960, height = small ? 170 : 210;
    const left = small ? 46 : 58, right = 12, above = small ? 14 : 24, below = 26;
    const x = (t) => left + (width - left - right) * t / last;
    const y = (value) => {
      const share = spec.log
          ? (Math.log10(Math.max(value, spec.bottom)) - Math.log10(spec.bottom)) /
            (Math.log10(spec.top) - Math.log10(spec.bottom))
          : value / spec.top;
      return height - below - (height - above - below) * Math.min(Math.max(share, 0), 1);
    };
    const figure = html("figure");
    const head = html("figcaption", "", spec.title);
    if (spec.aside) head.appendChild(html("span", spec.aside.className, spec.aside.text));
    figure.appendChild(head);
    const name = "chart-" + charts.length;
    const title = caption("title", { id: name + "-title" }, spec.title + ": " + spec.about);
    const svg = element("svg", {
      viewBox: "0 0 " + width + " " + height, tabindex: "0", role: "group", id: name,
      "aria-roledescription": "chart", "aria-labelledby": name + "-title"
    }, [title]);

    for (const fault of data.faults) {
      if (spec.fault && !spec.fault(fault)) continue;
      if (fault.from >= last) continue;
      const end = fault.until === null ? last : Math.min(fault.until, last);
      svg.appendChild(element("rect", {
        class: "fault", x: x(fault.from), y: above, width: Math.max(x(end) - x(fault.from), 6),
        height: height - above - below
      }));
    }
    for (const tick of spec.ticks) {
      svg.appendChild(element("line", { class: "tick", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
      svg.appendChild(caption("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, spec.label(tick)));
    }
    for (const tick of timeTicks(small ? 5 : 11)) {
      svg.appendChild(element("line", { class: "tick", x1: x(tick), x2: x(tick), y1: height - below, y2: height - below + 4 }));
      svg.appendChild(caption("text", { x: x(tick), y: height - 8, "text-anchor": tick === 0 ? "start" : "middle" }, duration(tick)));
    }
    if (spec.band) svg.appendChild(element("path", { class: "band", d: area(spec.band, x, y) }));
    for (const rule of spec.rules || []) {
      svg.appendChild(element("line", { class: rule.className, x1: left, x2: width - right, y1: y(rule.y), y2: y(rule.y) }));
      if (!small || rule.always) {
        svg.appendChild(caption("text", { class: rule.className, x: width - right - 4, y: y(rule.y) - 4, "text-anchor": "end" }, rule.text));
      }
    }
    for (const line of spec.lines) {
      svg.appendChild(element("path", { class: line.className, d: path(line, x, y) }));
    }
    if (spec.marks) marks(svg, x, above, height - below);
    for (const fault of spec.names ? data.faults : []) {
      if (fault.from >= last) continue;
      const late = x(fault.from) > width * 0.6;
      svg.appendChild(caption("text", {
        class: "fault", x: x(fault.from) + (late ? -5 : 4), y: above + 13,
        "text-anchor": late ? "end" : "start"
      }, fault.text));
    }
    const cursor = element("line", { class: "cursor", y1: above, y2: height - below });
    svg.appendChild(cursor);
    figure.appendChild(svg);
    const reading = html("output", "reading");
    reading.style.display = "block";
    reading.setAttribute("aria-live", "off");
    figure.appendChild(reading);
    parent.appendChild(figure);
    charts.push({ svg, cursor, reading, x, words: spec.reading });
    listen(svg, x, left, width, right);
  }

  function path(line, x, y) {
    let d = "", open = false;
    for (let i = 0; i < line.values.length; ++i) {
      const value = line.values[i];
      if (value === null) { open = false; continue; }
      const from = line.times ? line.times[i][0] : data.from[i];
      const to = line.times ? line.times[i][1] : data.to[i];
      if (line.steps) {
        d += (open ? "L" : "M") + x(from).toFixed(1) + " " + y(value).toFixed(1) +
            "L" + x(to).toFixed(1) + " " + y(value).toFixed(1);
      } else {
        d += (open ? "L" : "M") + x((from + to) / 2).toFixed(1) + " " + y(value).toFixed(1);
      }
      open = true;
    }
    return d;
  }
  function area(band, x, y) {
    let up = "", down = "";
    for (let i = 0; i < count; ++i) {
      const middle = x(data.to[i]).toFixed(1);
      up += (i === 0 ? "M" : "L") + middle + " " + y(band.high[i]).toFixed(1);
      down = "L" + middle + " " + y(band.low[i]).toFixed(1) + down;
    }
    return count > 0 ? up + down + "Z" : "";
  }

  function marks(svg, x, above, bottom) {
    data.moments.forEach((moment) => {
      if (!moment.mark) return;
      const place = x(moment.at);
      svg.appendChild(element("line", { class: "marked", x1: place, x2: place, y1: above, y2: bottom }));
      const link = element("a", { href: "#decision-" + moment.row, class: moment.tone }, [
        caption("title", {}, duration(moment.at) + ", " + moment.kind + ": " + moment.text),
        element("circle", { class: "mark", cx: place, cy: above - 8, r: 5 })
      ]);
      link.setAttribute("aria-label", duration(moment.at) + ", " + moment.kind + ": " + moment.text);
      svg.appendChild(link);
    });
  }

  // --- pointing ---------------------------------------------------------------------------------

  function show(i, spoken) {
    at = Math.max(0, Math.min(count - 1, i));
    for (const one of charts) {
      const place = one.x((data.from[at] + data.to[at]) / 2);
      one.cursor.setAttribute("x1", place);
      one.cursor.setAttribute("x2", place);
      one.cursor.style.visibility = "visible";
      one.reading.setAttribute("aria-live", one === spoken ? "polite" : "off");
      one.reading.textContent = span(at) + ": " + one.words(at);
    }
  }
  function listen(svg, x, left, width, right) {
    const own = charts[charts.length - 1];
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const inside = (event.clientX - box.left) * width / box.width;
      const t = (inside - left) / (width - left - right) * last;
      let i = data.to.findIndex((to) => to > t);
      if (i < 0) i = count - 1;
      show(i, null);
    });
    svg.addEventListener("keydown", (event) => {
      const leap = Math.max(1, Math.round(count / 20));
      const to = {
        ArrowRight: at + 1, ArrowLeft: at < 0 ? count - 1 : at - 1, PageDown: at + leap,
        PageUp: at - leap, Home: 0, End: count - 1
      }[event.key];
      if (to === undefined || event.target !== svg || count === 0) return;
      event.preventDefault();
      show(to, own);
    });
    svg.addEventListener("focus", () => { if (count > 0) show(at < 0 ? count - 1 : at, own); });
  }

  // --- what is drawn ----------------------------------------------------------------------------

  function rates(k, n) { return k.map((events, i) => (n[i] > 0 ? events / n[i] : null)); }

  // Points wide enough to say something: a rate of three requests is noise. As many requests as
  // have two events at the limit, but never across a change of weight.
  function coarse(k, n, enough, points) {
    const least = Math.max(1, Math.ceil(count / points));
    const pieces = [];
    for (let i = 0; i < count;) {
      const piece = { k: 0, n: 0, from: data.from[i], weight: data.weight[i] };
      const begin = i;
      while (i < count && data.weight[i] === piece.weight && (i < begin + least || piece.n < enough)) {
        piece.k += k[i];
        piece.n += n[i];
        piece.to = data.to[i++];
      }
      // What is left at the end of a step is too little to stand alone.
      const before = pieces[pieces.length - 1];
      if (piece.n < enough / 2 && before && before.weight === piece.weight) {
        before.k += piece.k;
        before.n += piece.n;
        before.to = piece.to;
      } else {
        pieces.push(piece);
      }
    }
    return {
      values: pieces.map((piece) => (piece.n > 0 ? piece.k / piece.n : null)),
      times: pieces.map((piece) => [piece.from, piece.to])
    };
  }
  function topOf(limit, lists) {
    let top = limit * 1.6;
    for (const list of lists) for (const value of list) if (value !== null) top = Math.max(top, value * 1.08);
    return Math.min(top, 1);
  }
  function rateChart(parent, limit, scope, small) {
    const points = small ? 60 : 180, enough = 2 / limit.limit;
    const canary = coarse(scope.canary_k, scope.canary_n, enough, points);
    const legacy = coarse(scope.legacy_k, scope.legacy_n, enough, points);
    const raw = { canary: rates(scope.canary_k, scope.canary_n), legacy: rates(scope.legacy_k, scope.legacy_n) };
    const top = topOf(limit.limit, [canary.values, legacy.values]);
    const worst = Math.max(0, ...scope.harm);
    chart(parent, {
      title: small ? scope.segment : limit.title + ", all requests",
      aside: small ? {
        className: "harm" + (worst >= 100 ? " bad" : ""), text: worst < 0.1 ? "harm below 0.1" : "harm up to " + harm(worst)
      } : null,
      about: "share of requests " + limit.what + " on canary and legacy, limit " + percent(limit.limit) +
          ", and where the canary's true rate is proven to be",
      small, top, ticks: linearTicks(top), label: percent, marks: !small, names: false,
      fault: (fault) => fault.kind === limit.kind && (fault.segment === "" || scope.segment === "" || fault.segment === scope.segment),
      band: { low: scope.low, high: scope.high },
      lines: [
        { className: "legacy", values: legacy.values, times: legacy.times, steps: true },
        { className: "canary", values: canary.values, times: canary.times, steps: true }
      ],
      rules: [{ y: limit.limit, className: "limit", text: "limit " + percent(limit.limit) }],
      reading: (i) => "canary " + percent(raw.canary[i]) + " (" + number(scope.canary_k[i]) + " of " +
          number(scope.canary_n[i]) + "), legacy " + percent(raw.legacy[i]) + "; since the step began " +
          (scope.high[i] < 1 ? "proven below " + percent(scope.high[i]) : "nothing proven") +
          (scope.low[i] > 0 ? ", proven above " + percent(scope.low[i]) : "") +
          "; harm " + harm(scope.harm[i]) + " of 100"
    });
  }

  function drawAll() {
    const main = document.getElementById("charts");
    chart(main, {
      title: "Weight: share of users on the canary", about: "in percent, with the decisions",
      top: 1.05, ticks: [0, 0.25, 0.5, 0.75, 1], label: percent, marks: true, names: true,
      lines: [{ className: "canary", values: data.weight.concat([data.end_weight]), steps: true,
        times: data.from.map((from, i) => [from, data.to[i]]).concat([[last, last]]) }],
      reading: (i) => percent(data.weight[i]) + " of users (" + data.step[i] + ")"
    });
    const compares = data.hold.length > 0;
    const top = Math.min(Math.max(200, ...data.harm, ...data.hold) * 1.3, mostHarm);
    const ticks = [];
    for (let tick = 0.1; tick <= top; tick *= 10) ticks.push(tick);
    chart(main, {
      title: "Harm: evidence against the canary; at 100 it acts" +
          (compares ? " (dotted: of what only holds)" : ""),
      about: "100 acts, " + data.suspicious + " is suspicious and stops promotion; logarithmic",
      log: true, bottom: 0.1, top, ticks, label: (v) => (v < 1 ? v.toFixed(1) : number(Math.round(v))),
      marks: true, names: false,
      rules: [{ y: 100, className: "limit", text: compares ? "100: roll back, or hold" : "100: roll back" },
        { y: data.suspicious, className: "soft-limit", text: data.suspicious + ": suspicious" }],
      lines: [{ className: "legacy", values: data.hold }, { className: "canary", values: data.harm }],
      reading: (i) => "harm " + harm(data.harm[i]) + " of 100" +
          (compares ? ", of what only holds " + harm(data.hold[i]) + " of 100" : "")
    });
    for (const limit of data.limits) rateChart(main, limit, limit.scopes[0], false);
    const agents = document.getElementById("agents");
    for (const limit of data.limits) {
      if (limit.scopes.length < 2) continue;
      agents.appendChild(html("h3", "", limit.title + ", limit " + percent(limit.limit)));
      const grid = html("div", "grid");
      agents.appendChild(grid);
      for (const scope of limit.scopes.slice(1)) rateChart(grid, limit, scope, true);
    }
    if (!agents.hasChildNodes()) document.getElementById("agents-section").hidden = true;
  }

  drawAll();
  document.documentElement.dataset.charts = String(charts.length);
  // Paper has no folds.
  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
  });
})();
