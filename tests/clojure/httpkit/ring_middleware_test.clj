(ns httpkit.ring-middleware-test
  "Ring's own middleware and Compojure over the server: they must not notice on what they run."
  (:require [clojure.java.io                   :as io]
            [clojure.string                    :as str]
            [clojure.test                      :refer [deftest is testing]]
            [compojure.core                    :as compojure]
            [httpkit.java-client               :as java-client]
            [org.httpkit.server                :as server]
            [ring.middleware.content-type      :refer [wrap-content-type]]
            [ring.middleware.cookies           :refer [wrap-cookies]]
            [ring.middleware.file              :refer [wrap-file]]
            [ring.middleware.flash             :refer [wrap-flash]]
            [ring.middleware.head              :refer [wrap-head]]
            [ring.middleware.keyword-params    :refer [wrap-keyword-params]]
            [ring.middleware.multipart-params  :refer [wrap-multipart-params]]
            [ring.middleware.nested-params     :refer [wrap-nested-params]]
            [ring.middleware.not-modified      :refer [wrap-not-modified]]
            [ring.middleware.params            :refer [wrap-params]]
            [ring.middleware.session           :refer [wrap-session]]
            [ring.middleware.session.cookie    :refer [cookie-store]]
            [ring.util.response                :as response])
  (:import [java.io ByteArrayInputStream File]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute]))

(defmacro ^:private with-server [[port handler options] & body]
  `(let [stop# (server/run-server ~handler (merge {:port 0 :ip "127.0.0.1"} ~options))
         ~port (:local-port (meta stop#))]
     (try ~@body (finally (stop#)))))

(defn- header [response k]
  (first (get-in response [:headers k])))

(deftest params-come-from-query-and-form
  (with-server [port (-> (fn [{:keys [params]}] {:status 200 :body (pr-str (into (sorted-map) params))})
                         wrap-keyword-params wrap-nested-params wrap-params)]
    (is (= "{:a \"1\", :b \"x y\"}" (java-client/text (java-client/request port "/?a=1&b=x+y"))))
    (is (= "{:q \"1\", :user {:name \"é\", :tags [\"a\" \"b\"]}}"
           (java-client/text
             (java-client/request port "/?q=1" :method "POST"
                                  :headers {"Content-Type" "application/x-www-form-urlencoded"}
                                  :body "user[name]=%C3%A9&user[tags][]=a&user[tags][]=b"))))))

(def ^:private boundary "----form")

(defn- multipart [^bytes file]
  (let [part (fn [head] (str "--" boundary "\r\nContent-Disposition: form-data; " head "\r\n\r\n"))]
    (byte-array (concat (.getBytes (str (part "name=\"title\"") "a title\r\n"
                                        (part "name=\"file\"; filename=\"data.bin\"\r\nContent-Type: image/png")))
                        file
                        (.getBytes (str "\r\n--" boundary "--\r\n"))))))

(deftest multipart-uploads-arrive-whole
  (let [seen (promise)]
    (with-server [port (-> (fn [{:keys [multipart-params]}]
                             (deliver seen (update-in multipart-params ["file" :tempfile]
                                                      #(Files/readAllBytes (.toPath ^File %))))
                             {:status 204})
                           wrap-multipart-params)]
      (doseq [body-of [identity #(ByteArrayInputStream. %)]]
        (let [file (byte-array (map unchecked-byte (range 300000)))]
          (is (= 204 (:status (java-client/request port "/" :method "POST" :body (body-of (multipart file))
                                                   :headers {"Content-Type" (str "multipart/form-data; boundary="
                                                                                 boundary)}))))
          (let [params (deref seen 5000 nil)]
            (is (= "a title" (get params "title")))
            (is (= ["data.bin" "image/png" 300000]
                   ((juxt :filename :content-type :size) (get params "file"))))
            (is (= (seq file) (seq (get-in params ["file" :tempfile]))))))))))

(deftest cookies-go-both-ways
  (with-server [port (wrap-cookies (fn [{:keys [cookies]}]
                                     {:status  200
                                      :cookies {"one" {:value "1" :http-only true} "two" {:value "2" :path "/"}}
                                      :body    (pr-str (get-in cookies ["in" :value]))}))]
    (let [answer (java-client/request port "/" :headers {"Cookie" "in=side; other=x"})]
      (is (= "\"side\"" (java-client/text answer)))
      (is (= #{"one=1;HttpOnly" "two=2;Path=/"} (set (get-in answer [:headers "set-cookie"])))
          "one Set-Cookie line each"))))

(deftest sessions-count-requests
  (let [counting (fn [{:keys [session flash]}]
                   (let [n (inc (:n session 0))]
                     {:status 200 :session (assoc session :n n) :flash n :body (str n " " flash)}))]
    (doseq [[store options] {"memory" {} "cookie" {:store (cookie-store {:key (.getBytes "0123456789abcdef")})}}]
      (with-server [port (-> counting wrap-flash (wrap-session options))]
        (let [answers (take 3 (iterate (fn [before]
                                         (let [cookie (or (header (:answer before) "set-cookie") (:cookie before))
                                               cookie (first (str/split cookie #";"))]
                                           {:cookie cookie
                                            :answer (java-client/request port "/" :headers {"Cookie" cookie})}))
                                       {:answer (java-client/request port "/")}))]
          (is (= ["1 " "2 1" "3 2"] (map (comp java-client/text :answer) answers)) store))))))

(deftest files-are-served-with-type-and-date
  (let [dir  (.toFile (Files/createTempDirectory "ring-files" (make-array FileAttribute 0)))
        file (io/file dir "page.html")]
    (spit file (apply str (repeat 5000 "<p>line</p>\n")))
    (try
      (with-server [port (-> (constantly {:status 404 :body "none"})
                             (wrap-file (str dir)) wrap-content-type wrap-not-modified wrap-head)]
        (let [answer (java-client/request port "/page.html")]
          (is (= 200 (:status answer)))
          (is (= (slurp file) (java-client/text answer)))
          (is (= "text/html" (header answer "content-type")))
          (is (= (str (.length file)) (header answer "content-length")))
          (testing "and not again to one who has it"
            (let [again (java-client/request port "/page.html"
                                             :headers {"If-Modified-Since" (header answer "last-modified")})]
              (is (= [304 0] [(:status again) (count (:body again))])))))
        (testing "HEAD has the length and no body"
          (let [answer (java-client/request port "/page.html" :method "HEAD")]
            (is (= [200 0] [(:status answer) (count (:body answer))]))))
        (is (= 404 (:status (java-client/request port "/other.html")))))
      (finally (.delete file) (.delete dir)))))

(deftest compojure-routes-by-path-and-method
  (with-server [port (compojure/routes
                       (compojure/GET "/users/:id" [id] (str "user " id))
                       (compojure/context "/api" []
                         (compojure/POST "/echo" {:keys [body]} (slurp body)))
                       (compojure/ANY "*" [] (response/not-found "nothing here")))]
    (is (= "user 42" (java-client/text (java-client/request port "/users/42"))))
    (is (= "sent" (java-client/text (java-client/request port "/api/echo" :method "POST" :body "sent"))))
    (is (= 404 (:status (java-client/request port "/users/42" :method "DELETE"))))))

(deftest asynchronous-middleware-answers
  (with-server [port (wrap-params (fn [{:keys [params]} respond raise]
                                    (future (if (get params "fail")
                                              (raise (ex-info "as asked" {}))
                                              (respond {:status 200 :body (get params "say")})))))
                {:ring-async? true :error-logger (fn [_ _])}]
    (is (= "hello" (java-client/text (java-client/request port "/?say=hello"))))
    (is (= 500 (:status (java-client/request port "/?fail=1"))))))

(def ^:private app-source
  "(ns httpkit.reloaded-app) (defn app [_] {:status 200 :body \"%s\"})")

(deftest code-that-is-loaded-again-answers-the-next-request
  (load-string (format app-source "first"))
  (let [app    (resolve 'httpkit.reloaded-app/app)
        reload (fn [handler] (fn [req] (when (= "/reload" (:uri req)) (load-string (format app-source "second")))
                               (handler req)))]
    (with-server [port (reload app)]
      (is (= "first" (java-client/text (java-client/request port "/"))))
      (is (= "second" (java-client/text (java-client/request port "/reload"))))
      (is (= "second" (java-client/text (java-client/request port "/")))))))
