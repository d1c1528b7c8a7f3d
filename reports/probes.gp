# Probe losses, a small panel for each layer. Data: a block for each run and layer, layers within
# runs; columns: step, mean loss, lowest, highest over seeds, layer.

top = top + 40
set label 3 "training loss at each step (nats)" at screen x(left), screen y(top - 20) \
    left font small textcolor rgb "#222222"
if (logarithmic) { set logscale y }
set xrange [0:last_step]
set yrange [low:high]
decade = 10 ** floor(log10(last_step))
tick = (last_step / decade < 2 ? 1 : last_step / decade < 5 ? 2 : 5) * decade
set xtics tick font tiny
set grid lt 1 lw 0.7 lc rgb "#DDDDDD"
do for [k = 1:probes] {
    column_ = (k - 1) % columns
    row_ = (k - 1) / columns
    set lmargin at screen x(left + column_ * cell_width)
    set rmargin at screen x(left + (column_ + 1) * cell_width - 14)
    set tmargin at screen y(top + row_ * cell_height + 4)
    set bmargin at screen y(top + (row_ + 1) * cell_height - 14)
    if (column_ == 0) { @set_labels } else { @set_bare }
    set ytics font tiny
    set format x (k + columns > probes ? "%g" : "")
    set label 4 sprintf("layer %d", layer[k]) at graph 0.96, graph 0.88 right font small
    if (k == probes) { set label 5 "step" at screen x(left - 12), screen y(top + (row_ + 1) * cell_height + 4) @row_head }
    plot for [i = 1:series] data index (i - 1) * probes + k - 1 using 1:3:4 with filledcurves \
             fillstyle solid noborder lc rgb lighter(colour[i], 0.25), \
         for [i = 1:series] data index (i - 1) * probes + k - 1 using 1:2 with lines lw 1.5 lc rgb colour[i]
    unset label
}
unset multiplot
