# Probe losses as a heat map for each run: dark where the loss is low. Data: a grid for each run;
# columns: step, mean loss, lowest, highest over seeds, layer.

unset label
set label 1 title at screen x(left), screen y(24) left font large
set label 2 subtitle at screen x(left), screen y(46) left font small textcolor rgb "#555555"
top = 56
right = width - 130
set rmargin at screen x(right)
# Cividis in nine steps, which colour-blind readers see as brightness.
set palette defined (0 "#00224E", 1 "#123570", 2 "#3B496C", 3 "#575D6D", 4 "#707173", 5 "#8A8678", 6 "#A59C74", 7 "#C3B369", 8 "#FEE838")
set cbrange [low:high]
if (logarithmic) { set logscale cb }
@set_colours
set cbtics font small
set xrange [0:last_step]
set yrange [layer[probes] + 0.5:layer[1] - 0.5]
set ytics 5 font small
set xtics font small
set border 15
do for [i = 1:series] {
    set label 3 label[i] at screen x(left), screen y(top + 12) left
    set label 4 "loss (nats)" at screen x(right + 16), screen y(top + 24) left font small
    set label 5 "layer" at screen x(left - 12), screen y(top + 24) @row_head
    set label 6 "step" at screen x(left - 12), screen y(top + 40 + panel_height + 22) @row_head
    set tmargin at screen y(top + 40)
    set bmargin at screen y(top + 40 + panel_height)
    set colorbox user origin screen x(right + 16), screen y(top + 40 + panel_height) size screen x(14), screen panel_height / (1.0 * height)
    plot data index i - 1 using 1:5:(0.515 * window):(0.515):2 with boxxyerror fillstyle solid noborder lc palette
    unset label
    top = top + 40 + panel_height + 50 + 21
}
unset multiplot
