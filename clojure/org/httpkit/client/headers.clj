(ns ^:no-doc org.httpkit.client.headers
  "A request's headers as users give them: a map with names in any case. Not API."
  (:import
   [java.util Locale]))

(set! *warn-on-reflection* true)

(defn without
  "`headers` less those with one of the lower-case `names`, in any case."
  [headers names]
  (into {} (remove (fn [[k _]] (contains? names (.toLowerCase (str k) Locale/ROOT)))) headers))

(defn with
  "`headers` with this one instead of any of its name."
  [headers ^String header value]
  (assoc (without headers #{(.toLowerCase header Locale/ROOT)}) header value))
