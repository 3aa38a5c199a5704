# SPDX-License-Identifier: GPL-2.0-or-later
#
# awk -v kernel=K -v mode=M -v json=FILE -f report.awk goals lines one-cpu results
#
# Print a table of what inside has measured, judged by the goals; write FILE, a JSON array.

/^#/ || !NF { next }

FILENAME ~ /goals$/ && $1 == kernel {
	for (i = 3; i <= NF; i++)
		goals[$2] = goals[$2] " " $i
}
FILENAME ~ /lines$/ {
	order[++cases] = $1
	operation[$1] = $3; bs[$1] = $4; depth[$1] = $5; jobs[$1] = $6
	for (i = 7; i <= NF; i++)
		against[$1] = against[$1] " " $i
}
FILENAME ~ /one-cpu$/ { alone[$1] = $3 }
FILENAME ~ /results[0-9]*$/ {
	own[$1] = $3
	figure[$1, $2] = $4
	if ($5 > 0)
		ratio[$1, $2] = $5 / 1000
	state[$1, $2] = $6
}

# What is reckoned from more than one ratio.
function derive(c) {
	if (c in alone && c in own && alone[c] > 0) {
		against[c] = against[c] " one-cpu"
		ratio[c, "one-cpu"] = own[c] / alone[c]
		state[c, "one-cpu"] = "settled"
	}
	if (ratio[c, "qcow:1"] && ratio[c, "loop:1"] && ratio[c, "loop"]) {
		against[c] = against[c] " scaling"
		ratio[c, "scaling"] = ratio[c, "qcow:1"] * ratio[c, "loop"] / ratio[c, "loop:1"]
		state[c, "scaling"] = "settled"
		if (state[c, "qcow:1"] state[c, "loop:1"] state[c, "loop"] ~ /un/)
			state[c, "scaling"] = "unstable"
	}
}

function shown(c, target) {
	if (!ratio[c, target])
		return "-"
	return sprintf("%.2f%s", ratio[c, target], state[c, target] == "settled" ? "" : "?")
}

# One goal, TARGET=R or TARGET+N: is it met?
function is_met(c, goal,    part) {
	if (split(goal, part, "=") == 2)
		return state[c, part[1]] == "settled" && ratio[c, part[1]] >= part[2] + 0
	split(goal, part, "+")
	return own[c] != "" && own[c] - figure[c, part[1]] <= part[2] * 1000
}

# Sets met to true, false or null; says what the goals are.
function judge(c,    n, i, goal, words) {
	met = "null"
	words = ""
	n = split(goals[c], goal, " ")
	for (i = 1; i <= n; i++) {
		if (met == "null")
			met = "true"
		if (!is_met(c, goal[i]))
			met = "false"
		words = words (i > 1 ? ", " : "") goal[i]
	}
	return words
}

function json_ratio(c, target) { return ratio[c, target] ? sprintf("%.3f", ratio[c, target]) : "null" }

function json_row(c, goal,    n, i, target, others, shaky) {
	n = split(against[c], target, " ")
	for (i = 1; i <= n; i++) {
		if (target[i] !~ /^(raw|loop|nbd)$/)
			others = others sprintf("%s\"%s\": %s", others ? ", " : "", target[i], json_ratio(c, target[i]))
		if (state[c, target[i]] != "settled")
			shaky = shaky sprintf("%s\"%s\"", shaky ? ", " : "", target[i])
	}
	printf "%s{\"kernel\": \"%s\", \"mode\": \"%s\", \"case\": \"%s\", ", rows++ ? ",\n " : "[", kernel, mode, c >json
	printf "\"bs\": \"%s\", \"depth\": %d, \"jobs\": %d, ", bs[c], depth[c], jobs[c] >json
	printf "\"ratio_raw\": %s, ", json_ratio(c, "raw") >json
	printf "\"ratio_loop\": %s, ", json_ratio(c, "loop") >json
	printf "\"ratio_nbd\": %s, ", json_ratio(c, "nbd") >json
	printf "\"iops\": %s, ", operation[c] ~ /attach|memory/ || !own[c] ? "null" : sprintf("%.1f", own[c] / 1000) >json
	printf "\"goal\": %s, \"goal_met\": %s, ", goal ? "\"" goal "\"" : "null", met >json
	printf "\"ratios\": {%s}, \"unstable\": [%s]}", others, shaky >json
}

function table_row(c, goal,    n, i, target, others) {
	n = split(against[c], target, " ")
	for (i = 1; i <= n; i++)
		if (target[i] !~ /^(raw|loop|nbd)$/)
			others = others sprintf("%s %s ", target[i], shown(c, target[i]))
	printf "%-14s %-4s %-5s %-4s %9.1f %6s %6s %6s  %-28s %-29s %s\n", c, bs[c], depth[c], jobs[c],
		own[c] / 1000, shown(c, "raw"), shown(c, "loop"), shown(c, "nbd"), others, goal,
		met == "true" ? "met" : met == "false" ? "NOT met" : ""
}

END {
	printf "\n%-14s %-4s %-5s %-4s %9s %6s %6s %6s  %-28s %s\n", "case", "bs", "depth", "jobs", "IOPS",
		"raw", "loop", "nbd", "others", "goals"
	for (i = 1; i <= cases; i++) {
		derive(order[i])
		goal = judge(order[i])
		table_row(order[i], goal)
		json_row(order[i], goal)
		wanted += met != "null"
		reached += met == "true"
	}
	print rows ? "]" : "[]" >json
	printf "%d of %d goals are met\n", reached, wanted
}
