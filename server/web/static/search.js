// The search page: the front and the hypervolume, kept current by the search's event stream.
(() => {
  "use strict";
  const progress = document.getElementById("progress");
  const id = progress.dataset.search;
  const api = `/api/v1/searches/${id}`;
  const axes = { x: document.getElementById("x-axis"), y: document.getElementById("y-axis") };
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--soft").trim();
  const accent = style.getPropertyValue("--accent").trim();
  // Tooltips are drawn into the canvas: HTML ones carry inline styles, which the content security policy refuses.
  const base = { textStyle: { color: ink }, tooltip: { renderMode: "richText", confine: true }, animation: false };
  const frontChart = echarts.init(document.getElementById("front-chart"));
  const hypervolumeChart = echarts.init(document.getElementById("hypervolume-chart"));
  window.addEventListener("resize", () => { frontChart.resize(); hypervolumeChart.resize(); });

  let front = null;
  let etag = "";

  async function loadFront() {
    const headers = etag ? { "If-None-Match": etag } : {};
    const response = await fetch(`${api}/front?include_dominated=true`, { headers });
    if (!response.ok) return;
    etag = response.headers.get("ETag") || "";
    front = await response.json();
    fillAxes();
    drawFront();
  }

  // As above columns: fractions as percents, bytes as KiB, plain numbers without a unit.
  const shownAs = { us: "µs", fraction: "%", macs: "", params: "", bytes: "KiB" };
  const factors = { fraction: 100, bytes: 1 / 1024 };
  const unitOf = ({ unit }) => (unit in shownAs ? shownAs[unit] : unit);
  const title = (objective) => objective.column + (unitOf(objective) ? ` [${unitOf(objective)}]` : "");

  // A value with the ends of its 95 % interval, in the unit of its axis: value, low, high.
  function spread(point, place) {
    const objective = front.objectives[place];
    const factor = factors[objective.unit] || 1;
    const known = point.candidate.values.find(({ name }) => name === objective.metric);
    const value = point.values[place];
    const ends = known && known.value === value && known.low !== null ? [known.low, known.high] : [value, value];
    return [value, ...ends].map((end) => end * factor);
  }

  function fillAxes() {
    if (axes.x.options.length) return;
    front.objectives.forEach((objective, place) => {
      for (const axis of [axes.x, axes.y]) axis.add(new Option(title(objective), place));
    });
    // Costs across, quality up, where there is both.
    const quality = front.objectives.findIndex((objective) => objective.goal === "maximize");
    axes.y.value = quality >= 0 ? quality : Math.min(1, front.objectives.length - 1);
    axes.x.value = Number(axes.y.value) === 0 ? Math.min(1, front.objectives.length - 1) : 0;
    const kinds = { table: "latency from a table of results" };
    const kind = front.latency_kind ? kinds[front.latency_kind] || `${front.latency_kind} latency, ${front.device_class} device` : "no latency";
    const noise = front.dominance === "confident" ? ", compared by 95 % confidence intervals" : "";
    document.getElementById("front-kind").textContent = kind + noise;
  }

  function drawFront() {
    const [x, y] = [Number(axes.x.value), Number(axes.y.value)];
    const asItem = (point) => {
      const [[across, left, right], [up, bottom, top]] = [spread(point, x), spread(point, y)];
      return { value: [across, up, left, right, bottom, top], candidate: point.candidate };
    };
    const points = front.points.map(asItem);
    const dominated = front.dominated.map(asItem);
    // Room for whole whiskers: each axis holds the ends of the intervals that are drawn along it, and a little more.
    const extent = (first, second) => {
      const ends = [...points.flatMap(({ value }) => [value[first], value[second]]), ...dominated.map(({ value }) => value[first === 2 ? 0 : 1])];
      if (!ends.length) return {};
      const [low, high] = [Math.min(...ends), Math.max(...ends)];
      const room = 0.05 * (high - low || Math.abs(high) || 1);
      return { min: low - room, max: high + room };
    };
    const label = { color: ink, showMinLabel: false, showMaxLabel: false };
    const axis = (place, name) => ({ type: "value", name: title(front.objectives[place]), nameLocation: "middle", axisLabel: label,
      ...(name === "x" ? extent(2, 3) : extent(4, 5)),
      nameGap: name === "x" ? 28 : 52, splitLine: { lineStyle: { color: ink, opacity: 0.15 } } });
    frontChart.setOption({
      ...base,
      grid: { left: 72, right: 16, top: 16, bottom: 44 },
      xAxis: axis(x, "x"), yAxis: axis(y, "y"),
      tooltip: { ...base.tooltip, formatter: (item) => describe(item.data) },
      series: [
        { name: "dominated", type: "scatter", data: dominated, symbolSize: 5, itemStyle: { color: ink, opacity: 0.45 } },
        { name: "intervals", type: "custom", silent: true, data: points.map((point) => point.value), renderItem: drawSpread, z: 2 },
        { name: "front", type: "scatter", data: points, symbolSize: 10, itemStyle: { color: accent }, z: 3 },
      ],
    }, { replaceMerge: ["series"] });
  }

  // The 95 % intervals, along both axes.
  function drawSpread(_, values) {
    const [x, y, left, right, bottom, top] = [0, 1, 2, 3, 4, 5].map((place) => values.value(place));
    const line = (from, to) => {
      const [x1, y1] = values.coord(from); const [x2, y2] = values.coord(to);
      return { type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: accent, lineWidth: 1.5, opacity: 0.6 } };
    };
    return { type: "group", children: [line([left, y], [right, y]), line([x, bottom], [x, top])] };
  }

  function describe(item) {
    const { candidate } = item;
    const lines = [`no. ${candidate.seq}  ${candidate.arch_id.slice(0, 12)}`];
    for (const { name, column, text } of candidate.values) {
      if (name === "latency_us") continue; // below, with what kind of number it is
      lines.push(`${column} ${text}`);
    }
    if (candidate.device_accuracy) {
      const found = candidate.device_accuracy;
      const loss = found.loss_text === null ? "" : `, ${found.loss_text} lost`;
      lines.push(`top-1 ${found.text} ${found.kind} on the ${found.device_class} device${loss}`);
    }
    if (candidate.latency) {
      lines.push(`${candidate.latency.kind} p50 ${candidate.latency.text} (${candidate.latency.validity})`);
    }
    return lines.join("\n");
  }

  async function loadHypervolume() {
    const response = await fetch(`${api}/hypervolume?max_points=500`);
    if (!response.ok) return;
    const { points } = await response.json();
    const history = points.map(({ num_evaluated, hypervolume }) => [num_evaluated, hypervolume]);
    if (!history.length) return;
    hypervolumeChart.setOption({
      ...base,
      grid: { left: 84, right: 16, top: 16, bottom: 36 },
      xAxis: { type: "value", name: "evaluated candidates", nameLocation: "middle", nameGap: 24, minInterval: 1, axisLabel: { color: ink }, splitLine: { show: false } },
      yAxis: { type: "value", scale: true, axisLabel: { color: ink }, splitLine: { lineStyle: { color: ink, opacity: 0.15 } } },
      tooltip: { ...base.tooltip, trigger: "axis" },
      series: [{ type: "line", step: "end", data: history, showSymbol: history.length < 30, lineStyle: { color: accent }, itemStyle: { color: accent } }],
    });
  }

  // News come in bursts; the page is brought up to date at most once a second.
  let waiting = false;
  function news() {
    if (waiting) return;
    waiting = true;
    setTimeout(() => { waiting = false; htmx.trigger(progress, "news"); reloadTable(); loadFront(); loadHypervolume(); }, 1000);
  }

  // The same page of the table, in the same order.
  function reloadTable() {
    const shown = document.querySelector("#candidates [data-url]");
    if (shown) htmx.ajax("GET", shown.dataset.url, "#candidates");
  }

  for (const axis of [axes.x, axes.y]) axis.addEventListener("change", drawFront);
  frontChart.on("click", "series", (item) => { if (item.data.candidate) location.href = `/candidates/${item.data.candidate.id}`; });
  loadFront();
  loadHypervolume();
  const events = new EventSource(`${api}/events`);
  for (const type of ["generation", "state", "candidate"]) events.addEventListener(type, news);
})();
