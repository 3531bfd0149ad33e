(ns ^:no-doc org.httpkit.client.headers
  "A request's headers as given by users: a map with names in any case. Not API."
  (:import
   [java.util Locale]))

(set! *warn-on-reflection* true)

(defn without
  "`headers` without those named in `names` (lower case), ignoring case."
  [headers names]
  (into {} (remove (fn [[k _]] (contains? names (.toLowerCase (str k) Locale/ROOT)))) headers))

(defn with
  "`headers` with this one, replacing any of the same name."
  [headers ^String header value]
  (assoc (without headers #{(.toLowerCase header Locale/ROOT)}) header value))
