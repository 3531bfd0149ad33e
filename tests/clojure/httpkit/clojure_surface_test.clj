(ns httpkit.clojure-surface-test
  "Every Var of http-kit is there, public ones and those private ones that other programs' tests reach, and is called
  as it was. What tests/java-surface.edn is for classes, the table here is for namespaces."
  (:require [clojure.test :refer [deftest is]])
  (:import (clojure.lang RestFn)
           (java.lang.reflect Method)))

(set! *warn-on-reflection* true)

(def ^:private function-of
  "Numbers of arguments that a Var's function takes; :more for any."
  '{org.httpkit.server
    {run-server #{1 2}, new-worker #{1}, server-port #{1}, server-status #{1}, server-stop! #{1 2}, -server-stop! #{2},
     server-join #{1}, open? #{1}, close #{1}, websocket? #{1}, send! #{2 3}, on-receive #{2}, on-ping #{2},
     on-close #{2}, as-channel #{2}, sec-websocket-accept #{1}, accept #{1}, websocket-handshake-check #{1},
     send-checked-websocket-handshake! #{2}, send-websocket-handshake! #{2}}

    org.httpkit.client
    {request #{1 :more}, get #{1 :more}, delete #{1 :more}, head #{1 :more}, post #{1 :more}, put #{1 :more},
     options #{1 :more}, patch #{1 :more}, propfind #{1 :more}, proppatch #{1 :more}, lock #{1 :more},
     unlock #{1 :more}, report #{1 :more}, acl #{1 :more}, copy #{1 :more}, move #{1 :more}, query-string #{1 2},
     url-encode #{1}, max-body-filter #{1}, make-ssl-engine #{0 1}, make-client #{1}, new-worker #{1}, coerce-req #{1}}

    org.httpkit.sni-client {ssl-configurer #{2 3}}
    org.httpkit.utils      {new-worker #{2}, java-version>= #{1}, have-virtual-threads? #{0}}
    org.httpkit.timer      {cancel #{1}}})

(def ^:private macros
  '{org.httpkit.server [with-channel]
    org.httpkit.timer  [schedule-task with-timeout]
    org.httpkit.utils  [compile-if]
    org.httpkit.encode [base64-encode]})

(def ^:private delays
  '{org.httpkit.client     [default-client legacy-client insecure-client default-worker_ *default-client*]
    org.httpkit.sni-client [default-client]})

(def ^:private protocols
  '{Channel     #{:open? :close :websocket? :send! :on-receive :on-ping :on-close}
    IHttpServer #{:-server-stop! :server-status :server-port}})

(defn- var-of [n v]
  (require n)
  (or (ns-resolve n v) (throw (ex-info (str n "/" v " is missing") {}))))

(defn- takes?
  "Does `f` take `n` arguments? `invoke` of a fixed number and `doInvoke` of the rest are its methods."
  [f n]
  (let [methods (.getDeclaredMethods (class f))
        named   (fn [m] (filter #(= m (.getName ^Method %)) methods))
        rest?   (seq (named "doInvoke"))]
    (if (= n :more)
      (boolean rest?)
      (boolean (or (some #(= n (.getParameterCount ^Method %)) (named "invoke"))
                   (and rest? (<= (.getRequiredArity ^RestFn f) (long n))))))))

(deftest functions-take-what-they-took
  (doseq [[n functions] function-of
          [v counts]    functions
          :let [f @(var-of n v)]
          count counts]
    (is (takes? f count) (str n "/" v " with " count))))

(deftest macros-are-macros-and-no-functions-became-one
  (doseq [[n names] macros, v names]
    (is (:macro (meta (var-of n v))) (str n "/" v)))
  (doseq [[n functions] function-of, v (keys functions)]
    (is (not (:macro (meta (var-of n v)))) (str n "/" v))))

(deftest clients-and-workers-are-delays
  (doseq [[n names] delays, v names]
    (is (delay? @(var-of n v)) (str n "/" v)))
  (is (:dynamic (meta (var-of 'org.httpkit.client '*default-client*)))))

(deftest private-vars-that-other-programs-tests-read-are-there
  (is (fn? @(var-of 'org.httpkit.client 'coerce-req)))
  (is (nil? @(var-of 'org.httpkit.server 'no-ring-websockets?)) "true if the property of that name is"))

(deftest protocols-have-no-other-methods
  (doseq [[p methods] protocols]
    (is (= methods (set (keys (:sigs @(var-of 'org.httpkit.server p))))) p)))

(deftest protocols-are-those-of-http-kits-classes-only
  (doseq [[p class] '{Channel org.httpkit.server.AsyncChannel, IHttpServer org.httpkit.server.HttpServer}
          :let [protocol @(var-of 'org.httpkit.server p)]]
    (is (not-any? #(satisfies? protocol %) [nil "x"]) p)
    (is (not (extends? protocol nil)) p)
    (is (extends? protocol (resolve class)) p)))

(defn- called
  "Symbols with a namespace in the code that `form` expands to."
  [form]
  (set (filter qualified-symbol? (tree-seq coll? seq (macroexpand-1 form)))))

(deftest macros-expand-to-public-vars-of-clojure-and-http-kit
  (doseq [[n names] macros, v names
          :let [form (concat [(symbol (name n) (name v))]
                       ('{with-channel  [request ch (body)]
                          schedule-task [1 (body)]
                          with-timeout  [f 1 :late (body)]
                          compile-if    [true 1 2]
                          base64-encode [bytes]} v))]]
    (var-of n v)
    (doseq [s (called form)
            :let [of (symbol (namespace s))]
            :when (find-ns of)]
      (is (or (= 'clojure.core of)
              (contains? (set (concat (keys (function-of of)) (macros of))) (symbol (name s))))
          (str n "/" v " expands to " s)))))

(deftest the-readme-names-all-other-public-vars
  (let [row   (str (first (re-seq #"(?m)^\| more public names .*$" (slurp "README.md"))))
        known (set (concat (mapcat keys (vals function-of)) (mapcat val macros) (mapcat val delays) (keys protocols)))]
    (doseq [n (distinct (mapcat keys [function-of macros delays]))]
      (require n)
      (doseq [v (keys (ns-publics n)) :when (not (known v))]
        (is (.contains row (str "`" v "`")) (str n "/" v))))))
