// The latency explorer's chart: the rows of the table, median and 95 % interval.
(() => {
  "use strict";
  const place = document.getElementById("latency-chart");
  if (!place) return;
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--soft").trim();
  const [good, doubtful] = ["--accent", "--warn"].map((name) => style.getPropertyValue(name).trim());
  const rows = [...document.querySelectorAll("#latencies tbody tr")].map((row) => row.dataset)
    .map((data) => ({ name: data.name, validity: data.validity, text: data.text, p50: Number(data.p50), low: Number(data.low), high: Number(data.high) }))
    .sort((a, b) => a.p50 - b.p50);
  const chart = echarts.init(place);
  window.addEventListener("resize", () => chart.resize());
  const [low, high] = [Math.min(...rows.map((row) => row.low)), Math.max(...rows.map((row) => row.high))];
  const room = 0.05 * (high - low || Math.abs(high) || 1); // so that whiskers are whole
  const colour = (row) => (row.validity === "valid" ? good : doubtful);
  chart.setOption({
    animation: false,
    textStyle: { color: ink },
    grid: { left: 76, right: 16, top: 32, bottom: 36 },
    tooltip: { renderMode: "richText", confine: true, formatter: ({ dataIndex }) => {
      const row = rows[dataIndex];
      return `${row.name}\np50 ${row.text} µs\n${row.validity}`;
    } },
    xAxis: { type: "category", data: rows.map((_, index) => index + 1), name: "by median", nameLocation: "middle", nameGap: 24, axisLabel: { color: ink } },
    yAxis: { type: "value", min: Math.max(0, low - room), max: high + room, name: "p50 [µs]", axisLabel: { color: ink, showMinLabel: false, showMaxLabel: false }, splitLine: { lineStyle: { color: ink, opacity: 0.15 } } },
    series: [
      { type: "custom", silent: true, data: rows.map((row, index) => [index, row.low, row.high]), renderItem: (_, values) => {
        const [x1, y1] = values.coord([values.value(0), values.value(1)]); const [x2, y2] = values.coord([values.value(0), values.value(2)]);
        return { type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: ink, lineWidth: 2 } };
      } },
      { type: "scatter", symbolSize: 8, data: rows.map((row) => ({ value: row.p50, itemStyle: { color: colour(row) } })) },
    ],
  });
})();
