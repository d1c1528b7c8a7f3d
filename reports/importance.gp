# Importance per layer, and the order of replacement. Columns of a run's block in the data: layer,
# value, low, high, order, stage (the last two 0 where a layer is in no stage; stage -1: replaced
# before the plan begins).

# The runs of one panel stand side by side within a layer, so that their bars can be told apart.
shift(i, p) = (i - 0.5 * (from[p] + to[p])) * 0.22

# What an SVG shows when one points at a mark.
tip(i, layer, value, low, high) = sprintf("run %d, layer %d: %.4g", run[i], layer, value) . \
    (high > low ? sprintf(", from %.4g to %.4g", low, high) : "")
order_tip(i, place, layer, value) = sprintf("run %d, layer %d, the %d. to be replaced: %.4g", run[i], layer, place, value)

# Importance by layer, a panel for each metric.
set xrange [-0.6:layers - 0.4]
tick_every = layers <= 40 ? 1 : 5
set xtics 0, tick_every
if (tick_every == 1 && layers > 18) { set xtics font small }
if (tick_every > 1) { set mxtics tick_every }
set grid ytics lt 1 lw 0.8 lc rgb "#CCCCCC"
do for [p = 1:panels] {
    top = top + 36
    set tmargin at screen y(top)
    set bmargin at screen y(top + panel_height)
    set label 3 axis[p] at screen x(left), screen y(top - 13) left font small textcolor rgb "#222222"
    eval scale_y[p]
    last = p == panels
    set format x (last && stages == 0 ? "%g" : "")
    if (last && stages == 0) {
        set label 5 "layer" at screen x(left - 12), screen y(top + panel_height + 26) @row_head
    }
    if (trunk[p] == trunk[p]) {
        set arrow 1 from graph 0, first trunk[p] to graph 1, first trunk[p] nohead dt 2 lc rgb "#555555"
        set label 4 "dashed: the unmodified model" at screen x(right), screen y(top - 13) right font small textcolor rgb "#555555"
    }
    plot for [i = from[p]:to[p]] data index i - 1 \
             using ($1 + shift(i, p)):2 with lines lw 1 dt 1 lc rgb lighter(colour[i], 0.4), \
         for [i = from[p]:to[p]] data index i - 1 \
             using ($1 + shift(i, p)):3:(0):($4 - $3) with vectors nohead lw 1.4 lc rgb colour[i], \
         for [i = from[p]:to[p]] data index i - 1 \
             using ($1 + shift(i, p)):2:(tip(i, $1, $2, $3, $4)) with labels hypertext \
             point ps mark_width(i) pt mark[i] lc rgb colour[i]
    unset arrow
    unset label
    top = top + panel_height
}
unset logscale y
unset grid

# Under the layers: in which order the plan replaces them.
if (stages > 0) {
    set tmargin at screen y(top + 8)
    set bmargin at screen y(top + (dense ? 38 : 30))
    set yrange [0:1]
    set border 0
    unset ytics
    set format x "%g"
    set xtics scale 0 offset 0, 0.3
    if (dense) { top = top + 8 }
    set label 5 "layer" at screen x(left - 12), screen y(top + 45) @row_head
    set label 6 "order" at screen x(left - 12), screen y(top + 19) @row_head
    plot data index 0 using 1:(0.5):(0.46):(0.5):(stage_colour($6)) with boxxyerror \
             fillstyle solid border rgb "#BBBBBB" lc rgb variable, \
         data index 0 using 1:(0.5):($5 > 0 && $6 > 0 ? sprintf("%d", $5) : ""):(stage_ink($6)) with labels \
             rotate by (dense ? 90 : 0) font tiny textcolor rgb variable
    unset label
    top = top + 108

    # The same values in the order of replacement, cut into stages.
    set border 3 lw 1 lc rgb "#555555"
    set xrange [0.4:entries + 0.6]
    set label 3 sprintf("in the order of replacement%s: %s", \
        base > 0 ? sprintf(" (grey: the %d replaced before)", base) : "", axis[1]) at screen x(left), screen y(top - 34) \
        left font small textcolor rgb "#222222"
    start = 1
    do for [s = 1:stages] {
        set object 100 + s rectangle from first start - 0.5, graph 0 to first stage_end[s] + 0.5, graph 1 \
            fillcolor rgb lighter(stage_colour(s), 0.14) fillstyle solid noborder behind
        set object 200 + s rectangle from first start - 0.5, screen y(top) to first stage_end[s] + 0.5, screen y(top - 20) \
            fillcolor rgb stage_colour(s) fillstyle solid noborder
        set label 200 + s sprintf("%d", stage_count[s]) at first 0.5 * (start + stage_end[s]), screen y(top - 10) \
            center font small textcolor rgb stage_ink(s) front
        set arrow 200 + s from first stage_end[s] + 0.5, graph 0 to first stage_end[s] + 0.5, screen y(top - 20) \
            nohead lw 1 lc rgb "#555555"
        start = stage_end[s] + 1
    }
    set tmargin at screen y(top)
    set bmargin at screen y(top + order_height)
    set ytics nomirror out scale 0.5 textcolor rgb "#222222"
    set grid ytics lt 1 lw 0.8 lc rgb "#CCCCCC"
    eval scale_y[1]
    set xtics scale 0.5
    set xtics () font tiny
    if (dense) { set xtics rotate by 90 right }
    set label 5 "layer" at screen x(left - 12), screen y(top + order_height + 17) @row_head
    set label 6 "replaced" at screen x(left - 12), screen y(top - 10) @row_head
    plot data index series using 1:(column(from[1] + 2)):xticlabel(2) with points ps 0.01 lc rgb "white", \
         for [i = from[1]:to[1]] data index series \
             using ($1 + shift(i, 1)):(column(i + 2)) with lines lw 1 lc rgb lighter(colour[i], 0.4), \
         for [i = from[1]:to[1]] data index series \
             using ($1 + shift(i, 1)):(column(i + 2)):(order_tip(i, $1, $2, column(i + 2))) with labels hypertext \
             point ps mark_width(i) pt mark[i] lc rgb colour[i]
    unset object
    unset label
    unset arrow
}
unset multiplot
