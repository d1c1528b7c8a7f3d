# Speed-up against the share of replaced layers. Columns of `data`: share (%), line, speed-up, the
# roofline's speed-up, layers, tokens per second, batch.

top = top + 21
set label 30 "published: Apriel-H1-15B, 1 token in, 16k out (arXiv 2511.02651)" at screen x(left + 22), screen y(top - 9) left
set label 31 "" at screen x(left + 9), screen y(top - 9) point pt 2 ps 1.1 lw 2 lc rgb "#222222"
set tmargin at screen y(top + 10)
set bmargin at screen y(top + panel_height)
set xrange [0:100]
set yrange [0:*]
set xtics 0, 10, 100 font small
set ytics font small
set grid ytics lt 1 lw 0.8 lc rgb "#DDDDDD"
set label 40 "layers replaced (%)" at screen x(right), screen y(top + panel_height + 44) right font small textcolor rgb "#222222"
set ylabel "times the transformer's tokens per second" font small offset 1, 0
$paper << EOD
50 1.8
54 1.9
60 2.1
68 2.5
74 2.9
80 3.4
EOD
plot for [i = 1:series] data using (column(2) == i ? column(1) : NaN):4 with points pt 6 ps 0.9 * mark_width(i) lw 1.2 lc rgb colour[i], \
     for [i = 1:series] data using (column(2) == i ? column(1) : NaN):3 with lines lw 1.6 lc rgb colour[i], \
     for [i = 1:series] data using (column(2) == i ? column(1) : NaN):3:(sprintf("%d of %d layers replaced: %.3g times the speed, %.4g tokens/s, %d at a time", column(5), layers, column(3), column(6), column(7))) \
         with labels hypertext point pt mark[i] ps mark_width(i) lc rgb colour[i], \
     $paper using 1:2 with points pt 2 ps 1.1 lw 2 lc rgb "#222222"
unset multiplot
